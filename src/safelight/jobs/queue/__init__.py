"""The durable queue in the database: submission, claims, scheduling, and estimated times."""
