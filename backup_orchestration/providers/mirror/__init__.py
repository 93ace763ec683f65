"""Buckets, mirrored object by object into another bucket."""
