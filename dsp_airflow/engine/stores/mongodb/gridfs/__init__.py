"""GridFS: buckets as tables, whose rows are files."""
