"""Files of a bucket of GridFS in S3: an object each, and an index of them for every batch."""
