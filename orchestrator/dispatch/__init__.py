"""Who runs ready steps: the process that called, or a fleet of Celery workers."""
