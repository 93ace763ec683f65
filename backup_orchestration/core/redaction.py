"""Takes secrets out of every text before it is shown, logged or stored."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from backup_orchestration.core.errors import HomelabError

_MASK = "***"
_SHORTEST = 4
_SHORTEST_PART = 8  # of an encoded secret, and of a part of one
_PATTERNS = (
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # user information in a URL
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS access key ids
)
# C0 and C1, what turns or hides text on the screen, and halves of characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class Redactor:
    """Knows the secrets of this process; `clean` masks them."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Remember a secret. Shorter than four characters is not masked: it would garble every text."""
        parts = {part for part in (secret, *secret.splitlines()) if len(part) >= _SHORTEST}
        spellings = {spelling for part in (*parts, *_parts_of_url(secret)) for spelling in _spellings(part)}
        fresh = (parts | spellings) - self._known
        if fresh:
            self._known |= fresh
            longest_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def mask(self, text: str) -> str:
        """The text with every secret masked; nothing else is changed, so that JSON stays JSON."""
        if self._pattern:
            text = self._pattern.sub(_MASK, text)
        for pattern in _PATTERNS:
            text = pattern.sub(_MASK, text)
        return text

    def clean(self, text: str) -> str:
        """For people and records: masked, and terminal control characters made visible."""
        return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", self.mask(text))

    def clean_lines(self, text: str) -> str:
        """As `clean`, for text of several lines."""
        return "\n".join(map(self.clean, text.split("\n")))


def _spellings(secret: str) -> Iterator[str]:
    """How libraries write a text that they put into JSON, a URL, Python source or a header."""
    raw = secret.encode("utf-8", "surrogateescape")
    yield from (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])
    yield from (quote(raw, safe=""), quote(raw), quote_plus(raw))
    for before in range(3):  # in Base64 a text is written in three ways, by what stands before it
        whole = 4 * ((before + len(raw)) // 3)
        for text in (base64.b64encode(bytes(before) + raw), base64.urlsafe_b64encode(bytes(before) + raw)):
            encoded = text.decode("ascii")[4 if before else 0 : whole]
            if len(encoded) >= _SHORTEST_PART:
                yield encoded


def _parts_of_url(secret: str) -> Iterator[str]:
    """Of a webhook's URL, what a message about it may quote: its query, and the token at the end of its path."""
    try:
        url = urlsplit(secret)
    except ValueError:
        return
    if not url.scheme or not url.netloc:
        return
    parts = [url.query, *(value for _, value in parse_qsl(url.query)), url.password or ""]
    yield from (part for part in parts if len(part) >= _SHORTEST_PART)
    last = url.path.rpartition("/")[2]
    if len(last) >= 2 * _SHORTEST_PART:
        yield last


def harmless(error: BaseException) -> HomelabError:
    """An error that may be shown and stored: no secret in its text, and none of its causes.

    What is not an error of this project came from somebody's code, and its text may hold anything.
    """
    if isinstance(error, HomelabError):
        return type(error)(REDACTOR.clean_lines(error.message), remedy=REDACTOR.clean_lines(error.remedy))
    text = REDACTOR.clean(f"{type(error).__name__}: {error}")
    return HomelabError(text, remedy="this is a defect; report it")


REDACTOR = Redactor()
