"""Nights of an application: what is started when, on a real instance, and what `status` makes of it afterwards.

The nights are played: a clock is set, schedules and the sensor are asked as Dagster's daemon asks them, and what they
want is begun, and ended, as real runs of real backups by the fake provider.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster._utils.schedules import schedule_execution_time_iterator  # what its scheduler uses
from fakes import behave, make_fake, policy, taken

from backup_orchestration.cli import applications as applications_of_cli
from backup_orchestration.orchestration import names
from backup_orchestration.orchestration.build import build_definitions

DB, REPOS, LFS = "gitlab/postgres", "gitlab/repositories", "gitlab/lfs"
SATURDAY = datetime(2026, 10, 31, tzinfo=UTC)


def at(clock, days=0):
    """A moment of the night to Sunday, or of one some days later."""
    hours, minutes = map(int, clock.split(":"))
    return SATURDAY + timedelta(days=1 + days, hours=hours, minutes=minutes)


@dataclass
class Night:
    """Plays the daemon: `begun` are the runs that wait for an end, by target."""

    graph: object
    known: datetime = SATURDAY + timedelta(hours=12)  # since when the targets are
    cursor: str | None = None
    begun: dict = field(default_factory=dict)
    waits: str = ""

    def __post_init__(self):
        self.look(self.known)

    @property
    def site(self):
        return self.graph.site

    def look(self, now):
        """One look of the sensor; the targets of the runs that it wants, which are begun."""
        self.site.clock = lambda: now
        sensor = build_definitions(self.site.homelab).get_repository_def().get_sensor_def("chains")
        with dg.build_sensor_context(instance=self.graph.instance, cursor=self.cursor) as context:
            result = sensor.evaluate_tick(context)
        self.cursor, self.waits = result.cursor, result.skip_message or ""
        return [self._begin(request) for request in result.run_requests]

    def tick(self, target, now):
        """A tick of a target's own schedule."""
        schedule = (
            build_definitions(self.site.homelab).get_repository_def().get_schedule_def(names.op_name("backup", target))
        )
        with dg.build_schedule_context(self.graph.instance, scheduled_execution_time=now) as context:
            (request,) = schedule.evaluate_tick(context).run_requests
        return self._begin(request)

    def _begin(self, request):
        (key,) = request.asset_selection
        target = key.to_user_string()
        tags = {**request.tags, **({"dagster/run_key": request.run_key} if request.run_key else {})}
        self.begun[target] = create_run_for_test(
            self.graph.instance, job_name=names.BACKUPS_JOB, status=DagsterRunStatus.STARTED, tags=tags,
            asset_selection=frozenset([key]),
        )  # fmt: skip
        return target

    def end(self, target, now, *, fails=False):
        """End a target's run: its backup is taken and proved, or it fails."""
        run = self.begun.pop(target)
        if fails:
            behave(self.site, **{target.replace("/", "_"): {"error": "broken"}})
            with pytest.raises(RuntimeError, match="broken"):
                taken(self.site, now, target)
            behave(self.site)
        else:
            snapshot = taken(self.site, now, target)
            assert self.site.restore_test(target, snapshot.key).passed
        self.graph.instance.handle_new_event(ended(run, failed=fails))


def ended(run, *, failed):
    kind = dg.DagsterEventType.RUN_FAILURE if failed else dg.DagsterEventType.RUN_SUCCESS
    event = dg.DagsterEvent(kind.value, job_name=run.job_name)
    return dg.EventLogEntry(None, "info", "", run.run_id, datetime.now(UTC).timestamp(), job_name=run.job_name,
                            dagster_event=event)  # fmt: skip


def policies(lfs="0 4 * * 0", repos="30 2 * * *"):
    return [
        policy(DB),
        policy(REPOS, cron=repos, after=DB),
        policy(LFS, cron=lfs, after=REPOS),
        policy("certs/ca"),
    ]


@pytest.fixture
def night(site, dagster_home, open_graph):
    with open_graph(make_fake(site, *policies(), home=dagster_home)) as graph:
        yield Night(graph)


def whole(night, days=0, *, lfs):
    """A night in which all goes well."""
    night.tick(DB, at("02:00", days))
    night.end(DB, at("02:10", days))
    assert night.look(at("02:30", days)) == [REPOS]
    night.end(REPOS, at("02:40", days))
    assert night.look(at("04:00", days)) == ([LFS] if lfs else [])
    if lfs:
        night.end(LFS, at("04:10", days))


@pytest.fixture
def applications(night, monkeypatch, capsys):
    """What `homelab backup status --applications --json` says of the application, and its exit code."""
    monkeypatch.setattr(applications_of_cli, "load", lambda: night.site.homelab)

    def ask(now):
        night.site.clock = lambda: now
        capsys.readouterr()
        code = applications_of_cli.show_applications([], as_json=True)
        (row,) = json.loads(capsys.readouterr().out)
        return code, row

    return ask


def point(row):
    return row["recovery_point_at"], row["held_back_by"]


def test_a_member_that_comes_after_another_has_no_schedule_of_its_own(night):
    found = {item.name for item in build_definitions(night.site.homelab).get_repository_def().schedule_defs}
    assert {name for name in found if name.startswith("backup__")} == {"backup__gitlab__postgres", "backup__certs__ca"}
    assert {name for name in found if "gitlab__lfs" in name} == {"restore_test__gitlab__lfs"}


def test_in_an_ordinary_night_all_run_in_order_and_none_twice(night, applications):
    night.tick(DB, at("02:00"))
    assert night.look(at("02:01")) == [] and night.waits == "nothing is due"
    night.end(DB, at("02:10"))
    assert night.look(at("02:29")) == []
    assert night.look(at("02:30")) == [REPOS]
    assert night.look(at("02:31")) == []
    night.end(REPOS, at("02:40"))
    assert night.look(at("03:59")) == []
    assert night.look(at("04:00")) == [LFS]
    night.end(LFS, at("04:10"))
    assert night.look(at("23:59")) == []
    code, row = applications(at("12:00"))
    assert code == 0
    assert row == {
        "application": "gitlab",
        "members": [DB, REPOS, LFS],
        "recovery_point_at": "2026-11-01T02:10:00Z",
        "age_seconds": 9 * 3600 + 50 * 60,
        "snapshots": {target: night.site.homelab.repository(target).latest().key for target in (DB, REPOS, LFS)},
        "held_back_by": None,
        "reason": "",
    }


def test_a_database_that_overruns_is_waited_for_by_all(night, applications):
    night.tick(DB, at("02:00"))
    assert night.look(at("02:30")) == []
    assert night.waits == f"{REPOS} waits: the backup of {DB} has not ended"
    assert night.look(at("05:00")) == []
    assert night.waits == "; ".join(f"{target} waits: the backup of {DB} has not ended" for target in (LFS, REPOS))
    night.end(DB, at("06:00"))
    assert night.look(at("06:00")) == [REPOS]
    assert night.look(at("06:01")) == [] and night.waits == f"{LFS} waits: the backup of {REPOS} has not ended"
    night.end(REPOS, at("06:10"))
    assert night.look(at("06:10")) == [LFS]
    night.end(LFS, at("06:20"))
    assert night.look(at("06:30")) == []
    assert point(applications(at("12:00"))[1]) == ("2026-11-01T06:00:00Z", None)


def test_a_database_that_fails_stops_nobody_and_gives_no_application_point(night, applications):
    whole(night, lfs=True)
    night.tick(DB, at("02:00", 7))
    night.end(DB, at("03:00", 7), fails=True)
    assert night.look(at("03:00", 7)) == [REPOS]
    night.end(REPOS, at("03:10", 7))
    assert night.look(at("04:00", 7)) == [LFS]
    night.end(LFS, at("04:10", 7))
    code, row = applications(at("12:00", 7))
    assert (code, point(row)) == (0, ("2026-11-01T02:10:00Z", DB))
    assert row["age_seconds"] == 7 * 86400 + 9 * 3600 + 50 * 60
    assert "no verified snapshot newer than" in row["reason"]


def test_where_lfs_is_not_due_it_is_not_run_and_holds_the_point_back(night, applications):
    whole(night, lfs=True)
    for days in (1, 2):
        whole(night, days, lfs=False)
    code, row = applications(at("12:00", 2))
    assert (code, point(row)) == (0, ("2026-11-01T02:10:00Z", LFS))
    whole(night, 7, lfs=True)
    assert point(applications(at("12:00", 7))[1]) == ("2026-11-08T02:10:00Z", None)


def test_a_failed_member_between_stops_nobody_either(night, applications):
    night.tick(DB, at("02:00"))
    night.end(DB, at("02:10"))
    assert night.look(at("02:30")) == [REPOS]
    night.end(REPOS, at("02:40"), fails=True)
    assert night.look(at("04:00")) == [LFS]
    night.end(LFS, at("04:10"))
    code, row = applications(at("12:00"))
    assert (code, point(row)) == (1, (None, REPOS))


def test_a_daemon_that_begins_anew_starts_nothing_twice_and_forgets_nothing(night):
    """What it goes by lies in the instance, not in the process; without its cursor it makes up for nothing."""
    night.tick(DB, at("02:00"))
    kept = night.cursor
    night.end(DB, at("02:10"))
    assert night.look(at("02:30")) == [REPOS]
    night.cursor = kept
    assert night.look(at("02:31")) == []
    night.cursor = None
    assert night.look(at("05:00")) == [] and night.waits == "nothing is due"


def test_what_was_missed_is_made_up_for_once(night):
    whole(night, lfs=True)
    night.tick(DB, at("09:00", 3))
    assert night.look(at("09:01", 3)) == []
    night.end(DB, at("09:10", 3))
    assert night.look(at("09:11", 3)) == [REPOS]
    night.end(REPOS, at("09:20", 3))
    assert night.look(at("09:21", 3)) == []


def test_a_database_that_nobody_starts_is_waited_for_an_hour(night):
    """Its schedule was switched off, say."""
    assert night.look(at("02:30")) == [] and night.waits == f"{REPOS} waits: the backup of {DB} has not begun"
    assert night.look(at("03:29")) == []
    assert night.look(at("03:30")) == [REPOS]


def test_one_that_is_due_earlier_waits_for_one_that_is_due_later_in_the_night(site, dagster_home, open_graph):
    make_fake(site, *policies(lfs="20 2 * * *", repos="0 3 * * *"), home=dagster_home)
    with open_graph(site) as graph:
        night = Night(graph)
        night.tick(DB, at("02:00"))
        night.end(DB, at("02:10"))
        assert night.look(at("02:20")) == [] and night.waits == f"{LFS} waits: {REPOS} is due in the same night"
        assert night.look(at("03:00")) == [REPOS]
        night.end(REPOS, at("03:05"))
        assert night.look(at("03:06")) == [LFS]


def test_a_member_due_in_no_night_waits_for_nobody(site, dagster_home, open_graph):
    make_fake(site, policy(DB), policy(REPOS, cron="0 15 * * *", after=DB), home=dagster_home)
    with open_graph(site) as graph:
        assert Night(graph).look(at("15:00")) == [REPOS]


def test_a_changed_cron_starts_nothing_for_a_moment_that_has_gone(night):
    whole(night, lfs=True)
    night.site.declare(*policies(lfs="0 11 * * 0"))
    assert night.look(at("12:00")) == [] and night.waits == "nothing is due"
    whole(night, 7, lfs=False)
    assert night.look(at("11:00", 7)) == [LFS]


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_the_slots_are_those_of_the_schedules_also_where_clocks_are_changed(site, dagster_home, open_graph, day):
    """A contract with Dagster: the run that its scheduler starts for a slot is found by that slot."""
    berlin = [policy(DB, cron="30 2 * * *", timezone="Europe/Berlin"),
              policy(REPOS, cron="0 4 * * *", timezone="Europe/Berlin", after=DB)]  # fmt: skip
    with open_graph(make_fake(site, *berlin, home=dagster_home)) as graph:
        night = Night(graph, day - timedelta(days=1))
        schedule = build_definitions(site.homelab).get_repository_def().get_schedule_def(names.op_name("backup", DB))
        slot = next(schedule_execution_time_iterator(day.timestamp(), schedule.cron_schedule, "Europe/Berlin"))
        night.tick(DB, slot)
        assert night.look(day + timedelta(hours=3)) == [] and night.waits.endswith("has not ended")
        night.end(DB, day + timedelta(hours=3))
        assert night.look(day + timedelta(hours=3, minutes=1)) == [REPOS]
