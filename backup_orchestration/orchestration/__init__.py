"""The Dagster graph over the same operations that the command line calls."""
