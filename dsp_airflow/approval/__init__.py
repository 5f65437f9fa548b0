"""Who has to agree before a task may work, and whether they have. See docs/approval.md."""
