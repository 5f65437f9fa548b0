"""MySQL and MariaDB: the store and its sessions."""
