"""How contributors, providers and probes are found: named in the settings, or by entry point."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Generic, TypeVar

from pydantic import ValidationError

from backup_orchestration.core.errors import SettingsError
from backup_orchestration.core.settings import explain

Part = TypeVar("Part")
Result = TypeVar("Result")
_GROUP = "backup_orchestration"


@dataclass(frozen=True)
class Found(Generic[Part]):
    """A part and where it came from, for messages and for `homelab backup policies`."""

    part: Part
    origin: str


def load(kind: str, references: tuple[str, ...], settings: Path) -> Iterator[Found[object]]:
    """Every part of a kind: by entry point first, then those that the settings name.

    Args:
        kind: `contributors`, `providers` or `probes`; also the settings field.
        references: `module.path[:name]` or `./file.py[:name]`.
        settings: path of the settings file.

    Raises:
        SettingsError: a reference cannot be imported or has no such name.
    """
    for point in entry_points(group=f"{_GROUP}.{kind}"):
        origin = f"entry point {point.name} of {point.dist.name if point.dist else 'an unknown package'}"
        yield Found(_guarded(point.load, origin, kind), origin)
    for reference in references:
        origin = f"{settings}: {kind}: {reference}"
        target, _, name = reference.partition(":")
        module = _guarded(_importer(target, settings), origin, kind)
        name = name or kind.removesuffix("s")
        if not hasattr(module, name):
            raise SettingsError(
                f"{origin}: there is no {name!r} in it",
                remedy=f"name the object {name!r}, or write {target}:its_name",
            )
        yield Found(getattr(module, name), origin)


class _Uncached(SourceFileLoader):
    """Neither writes `__pycache__`, as loading writes nothing, nor reads one, whose times are whole seconds."""

    def get_code(self, fullname: str) -> CodeType:
        """See `importlib.abc.InspectLoader`."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _importer(target: str, settings: Path) -> Callable[[], ModuleType]:
    if target.endswith(".py"):
        return lambda: _import_file((settings.parent / Path(target).expanduser()).resolve())
    return lambda: importlib.import_module(target)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    name = f"_homelab_{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Uncached(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _guarded(action: Callable[[], Result], origin: str, kind: str) -> Result:
    """A person's file may raise anything when it is imported, or exit; say which file it was."""
    try:
        return action()
    except ValidationError as error:
        message, remedy = explain(f"{origin}: {error.title}", error)
        raise SettingsError(message, remedy=remedy) from None
    except (Exception, SystemExit) as error:
        raise SettingsError(
            f"{origin}: cannot be imported: {type(error).__name__}: {error}",
            remedy=f"correct it, or remove it from {kind}",
        ) from error
