"""The durable job queue, the worker processes that run its jobs, and the supervisor that restarts them."""
