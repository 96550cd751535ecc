"""Full-text search of entries, in both databases.

Texts and queries are tokenized here, in the same way for both databases. So a query cannot contain search syntax: the
database receives only quoted letters and digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from itertools import count
from typing import Protocol

from sqlalchemy import Connection, FromClause, bindparam, column, text

from safelight.unicode_normalization import normalize

_TOKEN = re.compile(r"[^\W_]+")
_IDEOGRAPH = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
"""Kana and ideographs: they are written without spaces, so each is a token."""
_MAX_TOKEN_LENGTH, _MAX_TOKENS, _MAX_QUERY_TOKENS = 64, 4000, 32
_MAX_POSITIONS, _MAX_POSITION = 255, 16383  # of one word in PostgreSQL's vectors


def tokenize(given: str) -> list[str]:
    """The tokens of a text, without case and accents: at most 4,000, each cut after 64 characters."""
    plain = given.casefold()
    if not plain.isascii():
        # Fold case again in between: a mathematical bold A becomes an A only by decomposition.
        plain = normalize("NFKD", normalize("NFKD", given).casefold())
        plain = "".join(mark for mark in plain if not unicodedata.combining(mark))
    return [word[:_MAX_TOKEN_LENGTH] for word in _TOKEN.findall(_IDEOGRAPH.sub(r" \1 ", plain))][:_MAX_TOKENS]


def tokenize_query(query: str) -> list[str]:
    """The tokens of a query; the last one matches as a prefix."""
    return tokenize(query)[:_MAX_QUERY_TOKENS]


class FullTextIndex(Protocol):
    """A database's full-text index."""

    def add(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Add an entry's texts."""

    def find(self, query: list[str]) -> FromClause:
        """Entries with all these tokens, in the columns ``number`` and ``rank``.

        The rank is 2 if the prompt contains the tokens as a phrase, 1 if it contains them all, else 0. It depends on
        the entry alone, so it does not change between two pages.
        """


def full_text_index(connection: Connection) -> FullTextIndex:
    """The full-text index of the connected database."""
    return PostgresFullTextIndex() if connection.dialect.name == "postgresql" else SqliteFullTextIndex()


class SqliteFullTextIndex:
    """An index with FTS5, whose ``ascii`` tokenizer splits exactly at the spaces that ``tokenize`` inserts."""

    def add(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Add an entry's texts."""
        fields = (" ".join(part) for part in _tokenize_fields(prompt, negative, infotext))
        connection.exec_driver_sql(
            "INSERT INTO entry_words (rowid, prompt, negative, rest) VALUES (?, ?, ?, ?)", (number, *fields)
        )

    def find(self, query: list[str]) -> FromClause:
        """Entries with all these tokens, ranked."""
        match = " ".join(f'"{word}"' for word in query) + "*"
        return _matches_subquery(
            "SELECT rowid AS number, "
            "(rowid IN (SELECT rowid FROM entry_words WHERE entry_words MATCH :together)) "
            "+ (rowid IN (SELECT rowid FROM entry_words WHERE entry_words MATCH :prompt)) AS rank "
            "FROM entry_words WHERE entry_words MATCH :match",
            match=match,
            prompt=f"prompt : ({match})",
            together=f'prompt : "{" ".join(query)}"*',
        )


class PostgresFullTextIndex:
    """An index of text search vectors, which are made here since PostgreSQL's parser splits differently."""

    def add(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Add an entry's texts."""
        vector = _format_tsvector(_tokenize_fields(prompt, negative, infotext))
        statement = text("INSERT INTO entry_words VALUES (:number, CAST(:vector AS tsvector))")
        connection.execute(statement, {"number": number, "vector": vector})

    def find(self, query: list[str]) -> FromClause:
        """Entries with all these tokens, ranked."""
        *whole, last = query
        in_prompt = [*(f"'{word}':A" for word in whole), f"'{last}':*A"]
        return _matches_subquery(
            "SELECT number, CAST(vector @@ CAST(:together AS tsquery) AS integer) "
            "+ CAST(vector @@ CAST(:prompt AS tsquery) AS integer) AS rank "
            "FROM entry_words WHERE vector @@ CAST(:match AS tsquery)",
            match=" & ".join([*(f"'{word}'" for word in whole), f"'{last}':*"]),
            prompt=" & ".join(in_prompt),
            together=" <-> ".join(in_prompt),
        )


def _matches_subquery(statement: str, **values: str) -> FromClause:
    bound = text(statement).bindparams(*(bindparam(name, value) for name, value in values.items()))
    return bound.columns(column("number"), column("rank")).subquery("found")


def _tokenize_fields(prompt: str, negative: str, infotext: str) -> tuple[list[str], list[str], list[str]]:
    """The tokens of the three texts; tokens of the prompts are not repeated for the infotext."""
    first, second = tokenize(prompt), tokenize(negative)
    known = {*first, *second}
    return first, second, [word for word in tokenize(infotext) if word not in known]


def _format_tsvector(parts: tuple[list[str], list[str], list[str]]) -> str:
    """A text search vector in PostgreSQL's notation: each token with its positions and its text's weight."""
    positions: defaultdict[str, list[str]] = defaultdict(list)
    numbers = count(1)
    for weight, part in zip("ACD", parts, strict=True):
        for word, number in zip(part, numbers, strict=False):
            positions[word].append(f"{min(number, _MAX_POSITION)}{weight}")
    return " ".join(
        f"'{word}':{','.join(word_positions[:_MAX_POSITIONS])}" for word, word_positions in positions.items()
    )
