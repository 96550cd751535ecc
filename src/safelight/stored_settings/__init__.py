"""Settings that were changed while a server ran, and the preferences of its users: both are in the database."""
