"""What goes over the wire in our own family of routes, as the OpenAPI document shows it."""
