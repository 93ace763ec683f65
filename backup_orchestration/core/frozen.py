"""Base of everything a person declares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


def tuple_of(value: object) -> object:
    """For fields that are tuples: a list, as TOML and people write it, is taken too."""
    return tuple(value) if isinstance(value, list) else value


class Frozen(BaseModel):
    """Base of everything a person declares: immutable, strict, unknown fields refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
