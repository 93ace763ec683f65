"""How an op tells of its progress and of its errors: to the listener, and to Dagster without a secret."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from backup_orchestration.core.errors import HomelabError, RepositoryUnreachableError, StoreError
from backup_orchestration.core.progress import Update
from backup_orchestration.core.redaction import REDACTOR, harmless
from backup_orchestration.orchestration.listener import Listener

# A store that does not answer now may answer in a minute; an empty source stays empty.
_PASSING = (StoreError, RepositoryUnreachableError)


@contextmanager
def reported(listener: Listener, target: str) -> Iterator[None]:
    """Turn an error into a Dagster failure that holds no secret: neither its text nor its causes are stored raw."""
    try:
        yield
    except dg.DagsterExecutionInterruptedError:
        # Dagster would retry it: whoever terminates a run does not want it a minute later.
        stopped = HomelabError("it was stopped, and does not count", remedy="run it again")
        listener.failed(target, stopped)
        raise dg.Failure(str(stopped), allow_retries=False) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, its text may hold a secret
        shown = harmless(error)
        listener.failed(target, shown)
        raise dg.Failure(str(shown), allow_retries=isinstance(shown, _PASSING)) from None


def teller(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, listener: Listener, target: str
) -> Callable[[Update], None]:
    """A progress that the listener hears; messages go to the run's log as well."""

    def tell(update: Update) -> None:
        listener.progress(target, update)
        if update.message:
            context.log.info(REDACTOR.clean(update.message))

    return tell
