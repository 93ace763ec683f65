"""Small records and repository files by name: what a directory and a bucket have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol


class Objects(Protocol):
    """Names to bytes. Names use `/`, start without it, and are never a person's input.

    Every method raises `StoreError` when the store refuses or does not answer.
    """

    def names(self, prefix: str) -> Sequence[str]:
        """All names directly under `prefix/`, sorted; empty when there is none."""
        ...

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """All names below `prefix/`, at any depth, and their sizes in bytes."""
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """The bytes of a name as a stream; KeyError when it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a name; KeyError when it is not there."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put a name there, whole or not at all."""
        ...

    def delete(self, name: str) -> None:
        """Take a name away; it need not be there."""
        ...
