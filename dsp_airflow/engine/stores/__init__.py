"""One system, one file. Drivers are imported when a store is opened, never before."""
