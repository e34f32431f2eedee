"""Training jobs: the queue, their records on disk, and the process that does the work."""
