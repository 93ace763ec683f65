"""What Dagster loads: it is valid, and the graph of a small site is as written down in definitions.txt."""

import os
import sys
from pathlib import Path

from fakes import make_fake, policy

from backup_orchestration.core.commands import Command, run
from backup_orchestration.orchestration.build import build_definitions

WRITTEN = Path(__file__).parent / "definitions.txt"


def small_site(site):
    """Two services, three kinds of source, two providers, everything said and nothing said."""
    everything = (
        'BackupPolicy(target="git-lab/repo-files", description="All repositories.", provider="fake",'
        ' source=Files(path=str(HERE / "data"), exclude=["*.tmp"]), cron="15 */6 * * *", timezone="Europe/Berlin",'
        ' rpo=__import__("datetime").timedelta(hours=10), restore_test=RestoreTest(cron="0 4 * * 1"))'
    )
    sqlite = 'BackupPolicy(target="git-lab/db", source=Sqlite(path=str(HERE / "data" / "app.db")))'
    dump = 'BackupPolicy(target="app/dump", source=Dump(command=["true"], filename="dump.sql"))'
    return make_fake(site, policy(), everything, sqlite, dump)


def written_down(definitions):
    """Everything that matters of definitions, one fact a line."""
    graph = definitions.resolve_asset_graph()
    lines = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        lines += [
            f"asset {key.to_user_string()}",
            f"  description: {node.description}",
            f"  depends on: {names(node.parent_keys)}",
            f"  group: {node.group_name}",
            f"  kinds: {', '.join(sorted(node.kinds))}",
            f"  metadata: {', '.join(f'{name}={value}' for name, value in sorted(shown(node.metadata).items()))}",
            f"  partitions: {node.partitions_def.name if node.partitions_def else None}",
            f"  freshness: {window(node.freshness_policy_or_from_metadata)}",
            f"  executable: {node.is_executable}",
        ]
        if node.is_executable:
            lines.append(f"  op: {node.assets_def.op.name}, resources {sorted(node.assets_def.required_resource_keys)}")
            lines.append(f"  can be subset: {node.assets_def.can_subset}")
        for check in sorted(node.check_keys):
            spec = graph.get_check_spec(check)
            lines.append(f"  check: {check.name}, blocking: {spec.blocking}, partitions: {spec.partitions_def}")
    for job in sorted(definitions.resolve_all_job_defs(), key=lambda item: item.name):
        lines.append(f"job {job.name}")
        lines.append(f"  executor: {job.executor_def.name}")
        lines += [f"  op: {node.name}" for node in sorted(job.nodes, key=lambda item: item.name)]
    repository = definitions.get_repository_def()
    lines += [f"schedule {item.name}" for item in repository.schedule_defs]
    lines += [f"sensor {item.name}" for item in repository.sensor_defs]
    lines += [f"resource {name}: {type(item).__name__}" for name, item in sorted(definitions.resources.items())]
    return "\n".join(lines) + "\n"


def names(keys):
    return ", ".join(sorted(key.to_user_string() for key in keys)) or "nothing"


def shown(metadata):
    return {name: getattr(value, "value", value) for name, value in metadata.items() if not name.startswith("dagster/")}


def window(policy):
    return f"fails after {policy.fail_window.to_timedelta()}, warns {policy.warn_window}" if policy else None


def test_the_graph_is_as_written_down(site):
    """UPDATE_DEFINITIONS=1 writes it anew; read the difference before you commit it."""
    found = written_down(build_definitions(small_site(site).homelab))
    assert str(site.root) not in found
    if os.environ.get("UPDATE_DEFINITIONS") == "1":
        WRITTEN.write_text(found)
    assert found == WRITTEN.read_text()


def test_dagster_validates_them_in_a_process_of_its_own(site, tmp_path):
    small_site(site)
    done = validate(site, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Validation successful" in done.stdout + done.stderr


def test_dagster_says_what_is_wrong_with_a_policy(site, tmp_path):
    site.declare('BackupPolicy(target="app/files", source=Files(path="relative"))')
    done = validate(site, tmp_path)
    assert done.returncode == 1
    assert "is not an absolute path" in done.stdout + done.stderr


def validate(site, tmp_path):
    argv = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "backup_orchestration.definitions"]
    (tmp_path / "dagster").mkdir()
    environment = {"HOMELAB_SETTINGS": str(site.root / "homelab.toml"), "DAGSTER_HOME": str(tmp_path / "dagster")}
    return run(Command(argv, 120, environment, site.root))


def test_many_targets_make_few_jobs(site):
    """A job for each target would cost seconds to load."""
    make_fake(site, *(policy(f"app/t{number}") for number in range(12)))
    jobs = build_definitions(site.homelab).resolve_all_job_defs()
    assert len(jobs) == 5
