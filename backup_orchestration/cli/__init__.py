"""The `homelab` command. People's scripts rely on its words and exit codes: design in ARCHITECTURE.md."""
