"""MongoDB: collections whose rows are whole documents, moved as the bytes that they are."""
