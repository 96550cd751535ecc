"""Drops and pastes as the browser itself makes them: with files from the disk and with its clipboard."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from playwright.sync_api import Locator, Page

COPY = 1  # an operation of a drag, as the DevTools protocol numbers them


def drop_files(target: Locator, *paths: Path) -> None:
    """Drag files and folders from the disk onto an element and drop them."""
    box = target.bounding_box()
    assert box is not None
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": COPY}
    session = target.page.context.new_cdp_session(target.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    session.detach()


def paste_picture(page: Page, png: bytes) -> None:
    """Put a picture into the browser's clipboard and press Ctrl+V."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (data) => {
            const blob = await (await fetch(`data:image/png;base64,${data}`)).blob();
            await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }""",
        b64encode(png).decode(),
    )
    page.keyboard.press("Control+v")
