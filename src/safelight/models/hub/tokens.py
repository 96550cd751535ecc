"""Tokens for sources of models, from files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from safelight.errors import SettingsError
from safelight.file_permissions import OTHERS_MASK

MAX_TOKEN = 4096


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        SettingsError: It cannot be read, others can read it, or it holds no token.
    """
    place = path.expanduser()
    try:
        mode, text = place.stat().st_mode, place.read_text(encoding="ascii")[: MAX_TOKEN + 1].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"The token file {path} cannot be read: {reason}.") from error
    if os.name != "nt" and mode & OTHERS_MASK:
        raise SettingsError(
            f"Others can read the token file {path}.", hint=f"Close it with: chmod 600 {path}"
        )
    if not text or len(text) > MAX_TOKEN or not text.isprintable() or " " in text:
        raise SettingsError(
            f"The token file {path} holds no token.", hint="It holds the token and nothing else."
        )
    return text
