"""The life of a run: queue, worker process, events, resume, cancel."""
