"""Stores: a directory or a bucket, behind the same few calls."""
