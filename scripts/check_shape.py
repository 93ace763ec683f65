#!/usr/bin/env python3
"""Hold the package to its shape: short modules, short functions, every return type written down."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "backup_orchestration"
MAX_MODULE = 350
MAX_MEDIAN = 120
MAX_FUNCTION = 79


def offences(module: str, tree: ast.Module, lines: int) -> Iterator[str]:
    if lines > MAX_MODULE:
        yield f"{module}: {lines} lines, at most {MAX_MODULE}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        where = f"{module}:{node.lineno} {node.name}"
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION:
            yield f"{where}: {length} lines, at most {MAX_FUNCTION}"
        if node.returns is None:
            yield f"{where}: no return annotation"


def holds_code(tree: ast.Module) -> bool:
    """Tell a module from the marker of a package: a bare docstring would pull the median down."""
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    return bool(body)


def main() -> int:
    problems: list[str] = []
    lengths: dict[str, int] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE.parent).as_posix()
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=module)
        lines = len(text.splitlines())
        problems += offences(module, tree, lines)
        if holds_code(tree):
            lengths[module] = lines
    if not lengths:
        print(f"no modules under {PACKAGE.name}/", file=sys.stderr)
        return 1
    median = statistics.median(lengths.values())
    if median > MAX_MEDIAN:
        problems.append(f"median module: {median:g} lines, at most {MAX_MEDIAN}")
    for problem in problems:
        print(problem)
    longest = max(lengths, key=lambda module: lengths[module])
    print(f"{len(lengths)} modules, median {median:g} lines, longest {longest} with {lengths[longest]}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
