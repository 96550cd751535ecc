"""Texts judged by a list of words: all that can be said of them honestly without a classifier.

A list finds what stands in it, whole words only, whatever their case and their Unicode form. It does not understand a
text: it knows no meaning, no misspelling, no other language, and no word inside another one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import BlocklistError
from safelight.unicode_forms import normalize


@dataclass(frozen=True)
class TextVerdict:
    """What a list says of texts.

    Args:
        list: The file's name.
        digest: SHA-256 of the file.
        hit: Whether something of the list stands in one of them.
    """

    list: str
    digest: str
    hit: bool

    def to_dict(self) -> dict[str, str | bool]:
        """The verdict for JSON output."""
        return {"list": self.list, "digest": self.digest, "hit": self.hit}


@dataclass(frozen=True)
class Blocklist:
    """Words and phrases.

    Args:
        name: The file's name.
        digest: SHA-256 of the file.
        pattern: Finds any of them in a normalised text.
    """

    name: str
    digest: str
    pattern: re.Pattern[str]

    @classmethod
    def read(cls, path: Path) -> Blocklist:
        """The list in a text file, one word or phrase a line; blank lines and those that begin with # do not count.

        Raises:
            BlocklistError: It cannot be read, is not UTF-8, or has no words.
        """
        try:
            data = path.read_bytes()
            lines = [normalised(line) for line in data.decode("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BlocklistError(f"{path.name} cannot be read: {type(error).__name__}.") from error
        phrases = sorted({line for line in lines if line and not line.startswith("#")})
        if not phrases:
            raise BlocklistError(f"{path.name} has no words in it.")
        any_of = "|".join(map(re.escape, phrases))
        pattern = re.compile(rf"(?<!\w)(?:{any_of})(?!\w)")
        return cls(path.name, hashlib.sha256(data).hexdigest(), pattern)

    def judge(self, texts: Sequence[str]) -> TextVerdict:
        """Whether something of the list stands in one of some texts."""
        hit = any(self.pattern.search(normalised(text)) for text in texts)
        return TextVerdict(self.name, self.digest, hit)


def normalised(text: str) -> str:
    """A text in one Unicode form (NFKC) and one case, with single spaces."""
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return " ".join(folded.split())
