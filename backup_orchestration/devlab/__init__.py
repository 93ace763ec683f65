"""The example lab."""
