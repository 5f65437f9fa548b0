"""Incremental jobs on every system."""
