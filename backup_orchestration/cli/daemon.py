"""`homelab backup run --schedule`: Dagster's daemon under these settings, in the place of this process."""

from __future__ import annotations

import os
import sys

from backup_orchestration.cli.runs import prepare
from backup_orchestration.cli.show import complain
from backup_orchestration.core import settings
from backup_orchestration.core.errors import UsageError
from backup_orchestration.homelab.load import load

_DAEMON = "from dagster._daemon.cli import main; main()"


def run_daemon() -> None:
    """Become the daemon; does not return.

    Raises:
        UsageError: no policy is declared.
    """
    homelab = load()
    if not homelab.policies:
        raise UsageError(f"{homelab.path} declares no policy", remedy="name a contributor in it")
    home = prepare(homelab)
    os.environ[settings.VARIABLE] = str(homelab.path)
    os.environ["DAGSTER_HOME"] = str(home)
    complain(f"running {len(homelab.policies)} policies on their schedules; stop with Ctrl-C")
    sys.stderr.flush()
    arguments = [sys.executable, "-c", _DAEMON, "run", "-m", "backup_orchestration.definitions"]
    os.execv(sys.executable, arguments)  # noqa: S606 - our own interpreter
