"""The words of the project and the rules that need neither Dagster nor a backup tool."""
