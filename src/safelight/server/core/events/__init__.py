"""Job events, from the database to clients."""
