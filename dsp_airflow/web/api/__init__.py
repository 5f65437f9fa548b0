"""The REST API, one router for each noun. See docs/api.md and ADR 25."""
