"""Back up every service of a homelab, and prove each backup by restoring it.

What a contributor needs is here, loaded when it is first used; everything else is private to the package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backup_orchestration.core.policy import BackupPolicy, Contributor, Probe, RestoreTest, Retention
    from backup_orchestration.core.secrets import SecretRef
    from backup_orchestration.core.sources import Bucket, Dump, Export, Files, PgDump, Postgres, Sqlite

_MODULES = dict.fromkeys(("Bucket", "Dump", "Export", "Files", "PgDump", "Postgres", "Sqlite"), "sources") | {
    "SecretRef": "secrets"
}
__all__ = [
    "BackupPolicy",
    "Bucket",
    "Contributor",
    "Dump",
    "Export",
    "Files",
    "PgDump",
    "Postgres",
    "Probe",
    "RestoreTest",
    "Retention",
    "SecretRef",
    "Sqlite",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `homelab --help` needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _MODULES.get(name, "policy")
    return getattr(import_module(f"{__name__}.core.{module}"), name)
