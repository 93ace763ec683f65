"""Probes: each is one assertion on restored data. A probe is one file and one entry point."""
