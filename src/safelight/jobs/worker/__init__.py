"""The worker process: it claims jobs, runs them, and reports how they go."""
