"""Speed, measured side by side with the bare tools: `make bench`. Never run in CI, and no test depends on it.

One file a bench in `cases/`, each with `measure(room, rounds) -> Report`; a file that is put there is run.
"""
