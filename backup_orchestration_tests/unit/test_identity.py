"""As whom a program runs that refuses root, where root runs it."""

import os
import pwd
from types import SimpleNamespace

import pytest

from backup_orchestration.core.identity import within


def account(number, group):
    return SimpleNamespace(pw_uid=number, pw_gid=group)


@pytest.mark.parametrize(
    ("accounts", "number", "group"),
    [
        ([account(0, 0), account(1, 1), account(1000, 100)], 1000, 100),
        ([account(0, 0), account(4, 0), account(65534, 65534), account(34, 33), account(35, 33)], 34, 33),
        ([account(0, 0), account(65534, 65534)], 1000, 1000),
    ],
    ids=["the usual one", "a machine without people", "nobody at all"],
)
def test_it_is_somebody_with_a_name(monkeypatch, accounts, number, group):
    """A bare machine has no user 1000, and initdb of PostgreSQL 17 refuses one that it cannot look up."""
    by_number = {item.pw_uid: item for item in accounts}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwuid", by_number.__getitem__)
    monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
    argv = within(["initdb"], 0, cut_off=False, writes=None)
    assert argv == ["unshare", "--user", f"--map-user={number}", f"--map-group={group}", "--", "initdb"]
