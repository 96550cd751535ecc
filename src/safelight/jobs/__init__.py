"""Work that survives: a durable queue, the workers that do it, and the supervisor that keeps them alive."""
