"""MySQL and MariaDB, and whatever speaks their protocol."""
