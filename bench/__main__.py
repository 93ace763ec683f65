"""`python -m bench [--rounds N] [NAME ...]`: run all benches, or the named ones, and print what they found."""

from __future__ import annotations

import argparse
import pkgutil
import platform
import tempfile
from importlib import import_module
from pathlib import Path

from bench import cases
from bench.measure import Noise, Report


def main() -> None:
    names = [module.name for module in pkgutil.iter_modules(cases.__path__)]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; default all")
    parser.add_argument("--rounds", type=int, default=5, help="how often each rival runs (default 5)")
    wanted = parser.parse_args()
    if unknown := [name for name in wanted.names if name not in names]:
        parser.error(f"there is no bench {', '.join(unknown)}; choose from {', '.join(names)}")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in wanted.names or names:
        noise = Noise()
        with tempfile.TemporaryDirectory(prefix="homelab-bench-") as room:
            report: Report = import_module(f"bench.cases.{name}").measure(Path(room), wanted.rounds)
        print("\n" + "\n".join([*report.lines(), f"({noise})"]), flush=True)


if __name__ == "__main__":
    main()
