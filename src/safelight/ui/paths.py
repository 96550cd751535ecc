"""Where the studio's page is, and the files of its scripts; nothing heavy is imported here."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PATH, STATIC = "/studio", "/studio/safelight"


class Scripts(StaticFiles):
    """Scripts, styles and texts, which browsers keep and ask after."""

    def __init__(self) -> None:
        super().__init__(directory=Path(str(files(__package__).joinpath("static"))))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "private, no-cache"
        return response
