"""Chains within an application, and its recovery point: order, the newest set that fits, and who holds it back."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import snapshot

from backup_orchestration.core.chains import Chain, application_point, awaited, chains_of, way_of

DB, REPOS, LFS, UPLOADS = "gitlab/postgres", "gitlab/repositories", "gitlab/lfs", "minio/gitlab-uploads"
AFTER = {"certs/ca": None, UPLOADS: REPOS, LFS: REPOS, REPOS: DB, DB: None}
(GITLAB,) = chains_of(AFTER)


def taken(target, hours_ago, lasted=0.25, number=0):
    """A snapshot whose capture began that long ago and lasted some hours; None: its end is not known."""
    found = snapshot(hours_ago, number=number, target=target)
    end = None if lasted is None else found.taken_at + timedelta(hours=lasted)
    return type(found)(**{name: getattr(found, name) for name in found.__slots__} | {"finished_at": end})


def night(days, db=0.25, repos=0.25):
    """Snapshots of one night: the database at 02:00, its followers each when the one before had ended."""
    start = 24 * days + 10
    return {
        DB: taken(DB, start, db),
        REPOS: taken(REPOS, start - db, repos),
        LFS: taken(LFS, start - db - repos),
        UPLOADS: taken(UPLOADS, start - db - repos),
    }


def verified(*nights, without=()):
    """What is verified of these nights; `without`: pairs of a night's place and a target that is missing there."""
    return {
        target: [found[target] for place, found in enumerate(nights) if (place, target) not in without]
        for target in GITLAB.members
    }


def test_members_stand_in_order_and_what_is_alone_is_no_application():
    assert GITLAB.name == "gitlab"
    assert GITLAB.members == (DB, REPOS, LFS, UPLOADS)
    assert GITLAB.before == {REPOS: DB, LFS: REPOS, UPLOADS: REPOS}
    assert chains_of({"certs/ca": None}) == []


def test_one_is_awaited_across_those_that_are_not_chosen():
    assert awaited(AFTER, LFS, {DB, REPOS, LFS}) == REPOS
    assert awaited(AFTER, LFS, {DB, LFS}) == DB
    assert awaited(AFTER, LFS, {LFS, UPLOADS}) is None
    assert awaited(AFTER, DB, set(AFTER)) is None


def test_a_circle_is_named():
    with pytest.raises(ValueError, match=r"^a/a after b/b after a/a$"):
        way_of({"a/a": "b/b", "b/b": "a/a"}, "a/a")


def test_a_whole_night_is_the_point_and_nothing_holds_it_back():
    old, new = night(1), night(0)
    point = application_point(GITLAB, verified(old, new))
    assert point.snapshots == tuple(new[target] for target in GITLAB.members)
    assert (point.taken_at, point.held_back_by, point.reason) == (new[DB].taken_at, None, "")


def test_an_overrun_moves_the_others_and_the_point_is_of_that_night():
    new = night(0, db=5)
    point = application_point(GITLAB, verified(night(1), new))
    assert (point.taken_at, point.held_back_by) == (new[DB].taken_at, None)


def test_a_night_in_which_the_database_failed_gives_no_point():
    old, new = night(1), night(0)
    point = application_point(GITLAB, verified(old, new, without=[(1, DB)]))
    assert point.snapshots == tuple(old[target] for target in GITLAB.members)
    assert point.held_back_by == DB
    assert point.reason == f"{DB} has no verified snapshot newer than {old[DB].key}, others have"


def test_where_lfs_was_not_due_the_point_is_of_the_night_it_was():
    sunday, later = night(3), [night(days) for days in (2, 1, 0)]
    missing = [(place, LFS) for place in (1, 2, 3)]
    point = application_point(GITLAB, verified(sunday, *later, without=missing))
    assert point.snapshots == tuple(sunday[target] for target in GITLAB.members)
    assert point.held_back_by == LFS
    assert point.reason.startswith(
        f"{LFS} has no verified snapshot begun after {REPOS} {later[-1][REPOS].key} ended, 20"
    )


@pytest.mark.parametrize("target", GITLAB.members)
def test_a_member_without_any_leaves_none(target):
    point = application_point(GITLAB, verified(night(0), without=[(0, target)]))
    assert (point.snapshots, point.taken_at, point.held_back_by) == ((), None, target)
    assert target in point.reason


def test_what_was_begun_before_the_database_had_ended_is_not_of_the_set():
    """A physical backup is consistent as of its end, and may refer to what was written until then."""
    found = {DB: [taken(DB, 10, 1)], REPOS: [taken(REPOS, 9.5)]}
    chain = Chain((DB, REPOS), {REPOS: DB})
    assert application_point(chain, found).held_back_by == REPOS
    found[REPOS].append(taken(REPOS, 9))
    assert application_point(chain, found).snapshots == (found[DB][0], found[REPOS][1])


def test_nothing_follows_what_does_not_say_when_it_ended():
    found = {DB: [taken(DB, 10, None)], REPOS: [taken(REPOS, 1)]}
    point = application_point(Chain((DB, REPOS), {REPOS: DB}), found)
    assert (point.snapshots, point.held_back_by) == ((), DB)
    assert point.reason == f"{DB} {found[DB][0].key} does not say when its capture ended"


def test_of_several_the_nearest_to_the_database_is_taken_and_the_database_holds_it_back():
    found = {DB: [taken(DB, 10)], REPOS: [taken(REPOS, hours) for hours in (2, 9, 5)]}
    point = application_point(Chain((DB, REPOS), {REPOS: DB}), found)
    assert point.snapshots[1] == found[REPOS][1]
    assert point.held_back_by == DB


TIMES = st.integers(0, 12)
LENGTHS = st.one_of(st.none(), st.integers(0, 4))
CHAINS = st.sampled_from([GITLAB, Chain((DB, REPOS, LFS), {REPOS: DB, LFS: REPOS}), Chain((DB, LFS), {LFS: DB})])


@st.composite
def histories(draw):
    """A chain, and verified snapshots of its members at hours that collide, in any order."""
    chain = draw(CHAINS)
    listed = {}
    for target in chain.members:
        spans = draw(st.lists(st.tuples(TIMES, LENGTHS), max_size=4))
        listed[target] = [taken(target, hours, lasted, number) for number, (hours, lasted) in enumerate(spans)]
    return chain, listed


def fits(chain, chosen):
    return all(
        chosen[before].finished_at is not None and chosen[target].taken_at >= chosen[before].finished_at
        for target, before in chain.before.items()
    )


@settings(max_examples=150, deadline=None)
@given(histories())
def test_it_is_the_newest_set_that_fits_as_all_sets_tried_one_by_one_say(history):
    chain, listed = history
    sets = (dict(zip(chain.members, choice, strict=True)) for choice in product(*listed.values()))
    fitting = [chosen for chosen in sets if fits(chain, chosen)]
    point = application_point(chain, listed)
    assert bool(point.snapshots) == bool(fitting)
    if fitting:
        assert fits(chain, dict(zip(chain.members, point.snapshots, strict=True)))
        assert point.taken_at == max(chosen[chain.members[0]].taken_at for chosen in fitting)
    newest = {target: max((item.taken_at for item in items), default=None) for target, items in listed.items()}
    used = [item.taken_at for item in point.snapshots]
    # Of two that were begun in the same second, the one with the later id counts as the newer one.
    leads = not fitting or point.snapshots[0] == max(
        listed[chain.members[0]], key=lambda item: (item.taken_at, item.key)
    )
    assert (point.held_back_by is None) == (used == list(newest.values()) and leads)
    assert bool(point.reason) == (point.held_back_by is not None)


@settings(max_examples=100, deadline=None)
@given(histories(), st.data())
def test_whatever_the_others_get_the_newest_database_waits_for_who_holds_it_back(history, data):
    chain, listed = history
    point = application_point(chain, listed)
    first = chain.members[0]
    if point.held_back_by in (None, first):
        return
    newest = max(listed[first], key=lambda item: (item.taken_at, item.snapshot_id))
    for target in set(chain.members) - {point.held_back_by, first}:
        hours = data.draw(st.lists(st.integers(-40, -1), max_size=3))
        listed[target] += [taken(target, hour, 0.5, 20 + place) for place, hour in enumerate(hours)]
    assert newest not in application_point(chain, listed).snapshots
