"""URL paths of the web UI and its static files; imports neither Gradio nor anything else that is slow."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

UI_PATH, STATIC_PATH = "/studio", "/studio/safelight"


class UiStaticFiles(StaticFiles):
    """The web UI's scripts, style sheets and texts; browsers cache them and revalidate on each use."""

    def __init__(self) -> None:
        super().__init__(directory=Path(str(files(__package__).joinpath("static"))))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Respond with one file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "private, no-cache"
        return response
