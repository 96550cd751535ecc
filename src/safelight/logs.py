"""Structured logs: one JSON object per line on stderr, with the ids of the request and the job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

QUIET_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2")
"""Libraries whose messages below warning are dropped at any level: they describe each start at length, and log complete
URLs with the secrets in them."""


def configure_logging(level: str = "info") -> None:
    """Write our logs and those of all libraries to stderr as JSON lines.

    Args:
        level: debug, info, warning or error.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(json_formatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def json_formatter() -> logging.Formatter:
    """The formatter that turns our log records and those of libraries into JSON objects."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_fields,
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module, which takes fields as keyword arguments.

    It writes through Python's ``logging``: a program that imports Safelight decides what becomes of its lines.
    """
    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            _to_record,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return bound


def _to_record(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The arguments of logging's methods; the fields are kept apart, since a record has attributes such as ``name``."""
    message, error = event.pop("event"), event.pop("exc_info", None)
    return {"msg": message, "exc_info": error, "extra": {"fields": event}}


def _add_fields(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the fields of one of our records to the line."""
    record = event.get("_record")
    return {**event, **getattr(record, "fields", {})}


@contextmanager
def log_context(**ids: str) -> Iterator[None]:
    """Within the block, add these ids to all log lines of this thread or task."""
    with structlog.contextvars.bound_contextvars(**ids):
        yield
