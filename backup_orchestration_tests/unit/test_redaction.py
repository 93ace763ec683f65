"""Redaction: no secret and no control character reaches a person or a record."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_orchestration.core.errors import SourceError
from backup_orchestration.core.redaction import Redactor


@pytest.fixture
def redactor():
    known = Redactor()
    known.add("correct horse battery")
    return known


def test_a_secret_is_masked_wherever_it_stands(redactor):
    text = "--password=correct horse battery, again:correct horse battery"
    assert redactor.mask(text) == "--password=***, again:***"


def test_each_line_of_a_secret_of_several_lines_is_masked(redactor):
    redactor.add("-----BEGIN KEY-----\nMIIEowIBAAKC\n-----END KEY-----")
    assert redactor.mask("it said: MIIEowIBAAKC") == "it said: ***"


def test_the_longer_of_two_secrets_leaves_no_rest(redactor):
    redactor.add("correct")
    assert redactor.mask("correct horse battery") == "***"


def test_a_secret_of_three_letters_does_not_garble_every_text(redactor):
    redactor.add("the")
    assert redactor.mask("the other") == "the other"


def test_a_secret_with_special_characters_is_taken_literally():
    redactor = Redactor()
    redactor.add("a.*b(c")
    assert redactor.mask("a.*b(c aXXb(c") == "*** aXXb(c"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rest:https://me:hunter2@store.test/repo", "rest:https://***@store.test/repo"),
        ("https://token@store.test and https://store.test/@x", "https://***@store.test and https://store.test/@x"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key *** used"),
    ],
)
def test_what_looks_like_a_secret_is_masked_without_being_known(text, masked):
    assert Redactor().mask(text) == masked


def test_json_stays_json(redactor):
    line = json.dumps({"message": "correct horse battery\twrong", "code": 12})
    assert json.loads(redactor.mask(line)) == {"message": "***\twrong", "code": 12}


def test_control_characters_of_a_file_name_are_shown_and_not_obeyed(redactor):
    assert redactor.clean("a\x1b[2Jb\nc\x9bd\udc80") == "a\\x1b[2Jb\\x0ac\\x9bd\\xdc80"
    assert redactor.clean_lines("a\x1b\nb") == "a\\x1b\nb"


@given(text=st.text(), secret=st.text(min_size=4).filter(str.strip))
def test_cleaned_text_is_one_printable_line_without_the_secret(text, secret):
    redactor = Redactor()
    redactor.add(secret)
    cleaned = redactor.clean(f"{text}{secret}{text}")
    assert secret not in cleaned or secret in redactor.clean(text) or secret in "***"
    cleaned.encode()
    assert len(cleaned.split("\n")) == 1


WEIRD = "p@ss/w\"ö\\rd+&'x"


@pytest.mark.parametrize(
    "written",
    [
        json.dumps(WEIRD),
        json.dumps(WEIRD, ensure_ascii=False),
        repr(WEIRD),
        quote(WEIRD),
        quote(WEIRD, safe=""),
        quote_plus(WEIRD),
        base64.b64encode(WEIRD.encode()).decode(),
        base64.b64encode(f"user:{WEIRD}".encode()).decode(),
        base64.urlsafe_b64encode(f"u:{WEIRD}:and more".encode()).decode(),
    ],
)
def test_a_secret_is_known_in_every_spelling(written):
    redactor = Redactor()
    assert "***" not in redactor.mask(written)
    redactor.add(WEIRD)
    masked = redactor.mask(f"before {written} after")
    assert "***" in masked
    assert len(masked) < len("before *** after") + 20  # in Base64, the neighbours and what is shared with them


def test_of_a_webhook_s_url_a_message_may_quote_the_token_alone():
    redactor = Redactor()
    redactor.add("https://hooks.test/services/T00/abcdefghijklmnop?token=0123456789&n=1")
    assert redactor.mask("cannot POST /services/T00/abcdefghijklmnop?x") == "cannot POST /services/T00/***?x"
    assert redactor.mask("token 0123456789 refused") == "token *** refused"
    assert redactor.mask("/services/T00 n=1") == "/services/T00 n=1"


def test_what_turns_text_on_the_screen_is_shown(redactor):
    assert redactor.clean("exe\u202egpj") == "exe\\x202egpj"


def test_a_foreign_error_is_harmless_without_its_causes(monkeypatch):
    monkeypatch.setattr("backup_orchestration.core.redaction.REDACTOR", Redactor())
    from backup_orchestration.core import redaction

    redaction.REDACTOR.add("correct horse battery")
    try:
        try:
            raise ValueError("correct horse battery")
        except ValueError as cause:
            raise SourceError("with correct horse battery", remedy="no correct horse battery") from cause
    except SourceError as error:
        shown = redaction.harmless(error)
    assert (type(shown), str(shown), shown.__cause__) == (SourceError, "with *** (no ***)", None)
    foreign = redaction.harmless(RuntimeError("correct horse battery\x1b"))
    assert str(foreign) == "RuntimeError: ***\\x1b (this is a defect; report it)"
