"""An installation with its Dagster instance, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
import pytest
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest
from fakes import make_fake

from backup_orchestration.orchestration import execute, names
from backup_orchestration.orchestration.build import build_definitions
from backup_orchestration.orchestration.instance import open_instance
from backup_orchestration.orchestration.listener import Listener


class Heard(Listener):
    """Writes down what it hears."""

    def __init__(self):
        self.snapshots, self.evidence, self.errors, self.prunings, self.reconciliations = [], [], [], [], []

    def took(self, snapshot):
        self.snapshots.append(snapshot)

    def tested(self, evidence):
        self.evidence.append(evidence)

    def pruned(self, done):
        self.prunings.append(done)

    def reconciled(self, done, shown):
        self.reconciliations.append((done, shown))

    def failed(self, target, error):
        self.errors.append(error)


@dataclass
class Graph:
    """A site, its instance, and runs in this process."""

    site: object
    instance: dg.DagsterInstance
    heard: Heard = field(default_factory=Heard)

    @property
    def last_run(self) -> dg.DagsterRun:
        return self.instance.get_runs(limit=1)[0]

    def backup(self, target="app/files"):
        self.heard = Heard()
        return execute.run_backup(self.site.homelab, self.instance, target, self.heard)

    def restore_test(self, key=None, target="app/files"):
        self.heard = Heard()
        wanted = key or self.site.homelab.repository(target).latest().key
        return execute.run_restore_test(self.site.homelab, self.instance, target, wanted, self.heard)

    def prune(self, target="app/files", force=None):
        self.heard = Heard()
        return execute.run_prune(self.site.homelab, self.instance, target, self.heard, force=force)

    def reconcile(self, target="app/files"):
        self.heard = Heard()
        return execute.run_reconcile(self.site.homelab, self.instance, target, self.heard)

    @property
    def last_failure(self) -> str:
        """What the failed step of the last run said."""
        (entry,) = [
            entry
            for entry in self.instance.all_logs(self.last_run.run_id)
            if entry.dagster_event and entry.dagster_event.event_type_value == "STEP_FAILURE"
        ]
        return entry.dagster_event.event_specific_data.user_failure_data.description or ""

    def materialization(self, key):
        return self.instance.get_latest_materialization_event(key)

    def point(self, target="app/files"):
        """Snapshot and timestamp of the recovery point as Dagster has it."""
        event = self.materialization(names.recovery_point_key(target))
        return event.asset_materialization.metadata["snapshot"].value, event.timestamp

    def freshness(self, target="app/files") -> str:
        """What Dagster's own evaluator says now."""
        node = build_definitions(self.site.homelab).resolve_asset_graph().get(names.recovery_point_key(target))
        evaluator = TimeWindowFreshnessPolicyEvaluator()
        return asyncio.run(evaluator.evaluate_freshness(LoadingContextForTest(self.instance), node)).value


@contextmanager
def opened(site) -> Iterator[Graph]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        with open_instance(site.homelab) as instance:
            yield Graph(site, instance)


@pytest.fixture
def graph(site, dagster_home) -> Iterator[Graph]:
    """A graph of `app/files`, backed up by the fake provider."""
    with opened(make_fake(site, home=dagster_home)) as found:
        yield found


@pytest.fixture
def open_graph():
    """`opened`, for what is not the usual site."""
    return opened
