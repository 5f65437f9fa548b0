"""Copy, check and purge beside the limit and other tools. See docs/performance.md."""
