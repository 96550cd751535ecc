"""What every request passes before a route sees it, from the outside in: observing, origins, access, bodies."""
