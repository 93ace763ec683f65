"""Providers: each drives one backup tool. A provider is one file and one entry point."""
