"""Many requests at once, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
WORKERS = 16


def in_order(work: Callable[[In], Out], items: Iterable[In], workers: int = WORKERS) -> Iterator[Out]:
    """Results of what several threads do at once, in the order of the items, of which few are held at a time."""
    pending: deque[Future[Out]] = deque()
    remaining = iter(items)
    with ThreadPoolExecutor(workers, "objects") as pool:
        try:
            pending.extend(pool.submit(work, item) for item in islice(remaining, workers * 4))
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(work, item) for item in islice(remaining, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
