"""The worker process: it claims jobs, runs them, and reports their progress."""
