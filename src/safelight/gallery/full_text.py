"""Finding entries by words, in either database.

Texts are cut into words here, alike for both databases, for what is stored and what is asked. So nothing that a user
types can be syntax: what reaches the database are letters and digits in quotes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from itertools import count
from typing import Protocol

from sqlalchemy import Connection, FromClause, bindparam, column, text

from safelight.unicode_normalization import normalize

_WORD = re.compile(r"[^\W_]+")
_ALONE = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
"""Kana and ideographs: written without spaces, so each is a word."""
_LONGEST, _MOST, _MOST_ASKED = 64, 4000, 32
_POSITIONS, _LAST_POSITION = 255, 16383  # of one word in PostgreSQL's vectors


def words(given: str) -> list[str]:
    """A text's words, without case and accents; cut after 64 characters, and no more than 4,000."""
    plain = given.casefold()
    if not plain.isascii():
        # Case once more between the two: a mathematical bold A is an A only when it has been taken apart.
        plain = normalize("NFKD", normalize("NFKD", given).casefold())
        plain = "".join(mark for mark in plain if not unicodedata.combining(mark))
    return [word[:_LONGEST] for word in _WORD.findall(_ALONE.sub(r" \1 ", plain))][:_MOST]


def asked(query: str) -> list[str]:
    """A query's words; the last may be the beginning of one."""
    return words(query)[:_MOST_ASKED]


class Words(Protocol):
    """A database's way to find entries by words."""

    def put(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Note an entry's words."""

    def find(self, query: list[str]) -> FromClause:
        """Entries with all these words: columns ``number`` and ``rank``.

        The rank is 2 where the prompt has the words one after the other, 1 where it has them at all, 0 elsewhere. It
        says something of the entry alone, so it never changes while pages are turned.
        """


def words_in(connection: Connection) -> Words:
    """The way of the database that is connected to."""
    return PostgresWords() if connection.dialect.name == "postgresql" else SqliteWords()


class SqliteWords:
    """FTS5. Its ``ascii`` tokenizer cuts where ``words`` put spaces, and nowhere else."""

    def put(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Note an entry's words."""
        fields = (" ".join(part) for part in _parts(prompt, negative, infotext))
        connection.exec_driver_sql(
            "INSERT INTO entry_words (rowid, prompt, negative, rest) VALUES (?, ?, ?, ?)", (number, *fields)
        )

    def find(self, query: list[str]) -> FromClause:
        """Entries with all these words, ranked."""
        match = " ".join(f'"{word}"' for word in query) + "*"
        return _found(
            "SELECT rowid AS number, "
            "(rowid IN (SELECT rowid FROM entry_words WHERE entry_words MATCH :together)) "
            "+ (rowid IN (SELECT rowid FROM entry_words WHERE entry_words MATCH :prompt)) AS rank "
            "FROM entry_words WHERE entry_words MATCH :match",
            match=match,
            prompt=f"prompt : ({match})",
            together=f'prompt : "{" ".join(query)}"*',
        )


class PostgresWords:
    """Text search vectors, made here rather than by PostgreSQL's parser, which cuts words otherwise."""

    def put(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Note an entry's words."""
        vector = _vector(_parts(prompt, negative, infotext))
        statement = text("INSERT INTO entry_words VALUES (:number, CAST(:vector AS tsvector))")
        connection.execute(statement, {"number": number, "vector": vector})

    def find(self, query: list[str]) -> FromClause:
        """Entries with all these words, ranked."""
        *whole, last = query
        in_prompt = [*(f"'{word}':A" for word in whole), f"'{last}':*A"]
        return _found(
            "SELECT number, CAST(vector @@ CAST(:together AS tsquery) AS integer) "
            "+ CAST(vector @@ CAST(:prompt AS tsquery) AS integer) AS rank "
            "FROM entry_words WHERE vector @@ CAST(:match AS tsquery)",
            match=" & ".join([*(f"'{word}'" for word in whole), f"'{last}':*"]),
            prompt=" & ".join(in_prompt),
            together=" <-> ".join(in_prompt),
        )


def _found(statement: str, **values: str) -> FromClause:
    clause = text(statement).bindparams(*(bindparam(name, value) for name, value in values.items()))
    return clause.columns(column("number"), column("rank")).subquery("found")


def _parts(prompt: str, negative: str, infotext: str) -> tuple[list[str], list[str], list[str]]:
    """The words of the three texts; those of the prompts are not counted again where the infotext repeats them."""
    first, second = words(prompt), words(negative)
    known = {*first, *second}
    return first, second, [word for word in words(infotext) if word not in known]


def _vector(parts: tuple[list[str], list[str], list[str]]) -> str:
    """PostgreSQL's notation: each word with its positions and the weight of its text."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    numbers = count(1)
    for weight, part in zip("ACD", parts, strict=True):
        for word, number in zip(part, numbers, strict=False):
            places[word].append(f"{min(number, _LAST_POSITION)}{weight}")
    return " ".join(f"'{word}':{','.join(found[:_POSITIONS])}" for word, found in places.items())
