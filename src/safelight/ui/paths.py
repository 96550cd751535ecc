"""URL paths of the web UI and its static files; imports neither Gradio nor anything else that is slow."""

from __future__ import annotations

import gzip
import stat
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

UI_PATH, STATIC_PATH = "/studio", "/studio/safelight"
TEXT_TYPES = ("text/", "application/javascript", "application/json", "image/svg+xml")
"""Starts of the content types of files that are worth to be compressed."""


class SmallFiles(StaticFiles):
    """Files of up to some hundred kB from a local disk.

    Each is read at once in the event loop, which takes less than a tenth of a millisecond; Starlette's own
    responses change the thread several times for each file, and a page has a hundred. Texts are compressed once.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Respond with one file, or with status 304 if the browser has it."""
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405)
        try:
            full_path, status = self.lookup_path(path)
        except (OSError, ValueError):  # a name that no file can have
            raise HTTPException(404) from None
        if status is None or not stat.S_ISREG(status.st_mode):
            raise HTTPException(404)
        described, asked = FileResponse(full_path, stat_result=status).headers, Headers(scope=scope)
        is_text = described["content-type"].startswith(TEXT_TYPES)
        if packed := is_text and "gzip" in asked.get("accept-encoding", ""):
            described["content-encoding"] = "gzip"
            described["etag"] = described["etag"][:-1] + '-gzip"'
        described.add_vary_header("Accept-Encoding")
        if self.is_not_modified(described, asked):
            return NotModifiedResponse(described)
        data = _read_packed(full_path, status.st_mtime_ns) if packed else Path(full_path).read_bytes()
        described["content-length"] = str(len(data))
        return Response(data, headers=dict(described))


@lru_cache(maxsize=1024)
def _read_packed(path: str, modified: int) -> bytes:  # noqa: ARG001  what is kept is of that time
    """A file as gzip, which is kept: all of Gradio's and our texts take 6 MB."""
    return gzip.compress(Path(path).read_bytes(), mtime=0)


class UiStaticFiles(SmallFiles):
    """The web UI's scripts, style sheets and texts; browsers cache them and revalidate on each use."""

    def __init__(self) -> None:
        super().__init__(directory=Path(str(files(__package__).joinpath("static"))))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Respond with one file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "private, no-cache"
        return response
