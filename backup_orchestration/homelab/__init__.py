"""One installation: its settings, its policies, and the parts that serve them, loaded and checked together."""
