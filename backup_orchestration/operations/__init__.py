"""What can be done with a target: back it up, test it, judge it. The command line and Dagster call the same."""
