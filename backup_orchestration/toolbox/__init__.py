"""Unpacks the tools that are driven where the system has none that is new enough."""
