"""Match texts against a blocklist of words: without a classifier nothing more can be said of a text.

A blocklist matches whole words and phrases, whatever their case and Unicode form. It does not understand a text: it
detects no meaning, no misspelling, no other language, and no word inside another one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import BlocklistError
from safelight.unicode_normalization import normalize

_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD_CHARACTER = re.compile(r"\w")


@dataclass(frozen=True)
class TextVerdict:
    """The result of matching texts against a blocklist.

    Args:
        list: The file's name.
        digest: SHA-256 of the file.
        hit: Whether one of the texts contains an entry of the list.
    """

    list: str
    digest: str
    hit: bool

    def to_dict(self) -> dict[str, str | bool]:
        """Return the verdict for JSON output."""
        return {"list": self.list, "digest": self.digest, "hit": self.hit}


@dataclass(frozen=True)
class Blocklist:
    """A list of blocked words and phrases.

    Args:
        name: The file's name.
        digest: SHA-256 of the file.
        phrases: The words and phrases, normalized.
        phrase_lengths: Lengths of the phrases in characters, by their first word or sign.
    """

    name: str
    digest: str
    phrases: frozenset[str]
    phrase_lengths: Mapping[str, frozenset[int]]

    @classmethod
    def load(cls, path: Path) -> Blocklist:
        """Read a text file with one word or phrase per line; blank lines and lines that start with # are ignored.

        Raises:
            BlocklistError: The file cannot be read, is not UTF-8, or has no words.
        """
        try:
            data = path.read_bytes()
            lines = [normalize_text(line) for line in data.decode("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BlocklistError(f"{path.name} cannot be read: {type(error).__name__}.") from error
        phrases = frozenset(line for line in lines if line and not line.startswith("#"))
        if not phrases:
            raise BlocklistError(f"{path.name} has no words in it.")
        lengths: dict[str, set[int]] = {}
        for phrase in phrases:
            lengths.setdefault(_first_token(phrase), set()).add(len(phrase))
        found = {beginning: frozenset(each) for beginning, each in lengths.items()}
        return cls(path.name, hashlib.sha256(data).hexdigest(), phrases, found)

    def judge(self, texts: Sequence[str]) -> TextVerdict:
        """Check whether one of the texts contains an entry of the list.

        The time grows with the texts, not with the list; other threads can run meanwhile.
        """
        hit = any(self._matches(normalize_text(text)) for text in texts)
        return TextVerdict(self.name, self.digest, hit)

    def _matches(self, text: str) -> bool:
        for token in _TOKEN.finditer(text):
            start = token.start()
            for length in self.phrase_lengths.get(token[0], ()):
                if text[start : start + length] in self.phrases and _is_whole_word(text, start, length):
                    return True
        return False


def _first_token(phrase: str) -> str:
    """Return a phrase's key in ``lengths``: its first word, or the sign before that."""
    found = _TOKEN.match(phrase)
    assert found is not None, "normalised phrases do not begin with a space"
    return found[0]


def _is_whole_word(text: str, start: int, length: int) -> bool:
    """Whether the text at a position is not part of a longer word."""
    end = start + length
    return not _WORD_CHARACTER.match(text[start - 1 : start]) and not _WORD_CHARACTER.match(
        text[end : end + 1]
    )


def normalize_text(text: str) -> str:
    """Normalize a text: Unicode form NFKC, folded case, and single spaces."""
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return " ".join(folded.split())
