"""One system, one package. Drivers are imported when a store is opened, never before."""
