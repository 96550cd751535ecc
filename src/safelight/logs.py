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
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_common_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def json_formatter() -> logging.Formatter:
    """The formatter that turns our log records and those of libraries into JSON objects."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_common_processors(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )


def _common_processors() -> list[structlog.typing.Processor]:
    """Processors that add the common fields of all lines."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


@contextmanager
def log_context(**ids: str) -> Iterator[None]:
    """Within the block, add these ids to all log lines of this thread or task."""
    with structlog.contextvars.bound_contextvars(**ids):
        yield
