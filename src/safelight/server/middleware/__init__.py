"""ASGI middleware, from the outside in: telemetry, host_origin, authentication, body_limits, disconnects."""
