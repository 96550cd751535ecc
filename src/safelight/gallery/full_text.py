"""Full-text search of entries, in both databases.

Texts and queries are tokenized in the same way for both databases, and a query is parsed before (``query_syntax``). So
it cannot contain the databases' search syntax: they receive only quoted letters and digits with operators from here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count
from typing import Protocol

from sqlalchemy import Connection, FromClause, bindparam, column, text

from safelight.gallery.query_syntax import Query, Term
from safelight.gallery.tokenization import tokenize

_MAX_POSITIONS, _MAX_POSITION = 255, 16383  # of one word in PostgreSQL's vectors
_WEIGHTS = "ACD"
"""The weights of prompt, negative prompt and the rest in PostgreSQL's vectors."""


class FullTextIndex(Protocol):
    """A database's full-text index."""

    def add(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Add an entry's texts."""

    def find(self, query: Query) -> FromClause:
        """The entries that match a query with groups, in the columns ``number`` and ``rank``.

        The rank is 2 if the prompt contains all the words as one phrase, 1 if it alone matches the query's groups,
        else 0. It depends on the entry alone, so it does not change between two pages.
        """

    def find_excluded(self, query: Query) -> FromClause:
        """The entries that contain an excluded term of a query, in the column ``number``."""


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

    def find(self, query: Query) -> FromClause:
        """The entries that match a query, ranked."""
        wanted = _groups(query, _fts5_term, "AND", "OR")
        unwanted = _alternatives(query.excluded, _fts5_term, "OR")
        texts = {
            "match": f"({wanted}) NOT {unwanted}" if unwanted else wanted,
            "prompt": f"prompt : ({wanted})",
        }
        if phrase := query.whole_phrase:
            texts["phrase"] = f"prompt : {_fts5_term(phrase)}"
        ranks = (
            f"(rowid IN (SELECT rowid FROM entry_words WHERE entry_words MATCH :{name}))"  # noqa: S608
            for name in texts
            if name != "match"
        )
        return _subquery(
            f"SELECT rowid AS number, {' + '.join(ranks)} AS rank "  # noqa: S608  the texts are bound
            "FROM entry_words WHERE entry_words MATCH :match",
            ("number", "rank"),
            **texts,
        )

    def find_excluded(self, query: Query) -> FromClause:
        """The entries that contain an excluded term."""
        return _subquery(
            "SELECT rowid AS number FROM entry_words WHERE entry_words MATCH :match",
            ("number",),
            match=_alternatives(query.excluded, _fts5_term, "OR"),
        )


class PostgresFullTextIndex:
    """An index of text search vectors, which are made here since PostgreSQL's parser splits differently."""

    def add(self, connection: Connection, number: int, prompt: str, negative: str, infotext: str) -> None:
        """Add an entry's texts."""
        vector = _format_tsvector(_tokenize_fields(prompt, negative, infotext))
        statement = text("INSERT INTO entry_words VALUES (:number, CAST(:vector AS tsvector))")
        connection.execute(statement, {"number": number, "vector": vector})

    def find(self, query: Query) -> FromClause:
        """The entries that match a query, ranked."""
        wanted = _groups(query, _tsquery_term, "&", "|")
        unwanted = _alternatives(query.excluded, _tsquery_term, "|")
        texts = {
            "match": f"({wanted}) & !{unwanted}" if unwanted else wanted,
            "prompt": _groups(query, _tsquery_prompt_term, "&", "|"),
        }
        if phrase := query.whole_phrase:
            texts["phrase"] = _tsquery_prompt_term(phrase)
        ranks = (f"CAST(vector @@ CAST(:{name} AS tsquery) AS integer)" for name in texts if name != "match")
        return _subquery(
            f"SELECT number, {' + '.join(ranks)} AS rank "  # noqa: S608  the texts are bound
            "FROM entry_words WHERE vector @@ CAST(:match AS tsquery)",
            ("number", "rank"),
            **texts,
        )

    def find_excluded(self, query: Query) -> FromClause:
        """The entries that contain an excluded term."""
        return _subquery(
            "SELECT number FROM entry_words WHERE vector @@ CAST(:match AS tsquery)",
            ("number",),
            match=_alternatives(query.excluded, _tsquery_term, "|"),
        )


def _groups(query: Query, write: Callable[[Term], str], all_of: str, any_of: str) -> str:
    return f" {all_of} ".join(_alternatives(group, write, any_of) for group in query.groups)


def _alternatives(terms: Iterable[Term], write: Callable[[Term], str], any_of: str) -> str:
    """An expression for any of some terms; empty if there are none."""
    written = f" {any_of} ".join(map(write, terms))
    return f"({written})" if written else ""


def _fts5_term(term: Term) -> str:
    """A term in FTS5's notation."""
    end = "*" if term.prefix else ""
    if term.phrase:
        return f'"{" ".join(term.words)}"{end}'
    words = " AND ".join(f'"{word}"' for word in term.words)
    return f"({words}{end})"


def _tsquery_term(term: Term) -> str:
    """A term in PostgreSQL's notation; the words of a phrase are of one text, since positions run on to the next."""
    if term.phrase and len(term.words) > 1:
        return f"({' | '.join(_tsquery_words(term, weight) for weight in _WEIGHTS)})"
    return _tsquery_words(term)


def _tsquery_prompt_term(term: Term) -> str:
    return _tsquery_words(term, _WEIGHTS[0])


def _tsquery_words(term: Term, weight: str = "") -> str:
    """A term in texts of a weight, or in all."""
    marks = [weight] * (len(term.words) - 1) + [f"*{weight}" if term.prefix else weight]
    words = (
        f"'{word}':{mark}" if mark else f"'{word}'" for word, mark in zip(term.words, marks, strict=True)
    )
    return f"({(' <-> ' if term.phrase else ' & ').join(words)})"


def _subquery(statement: str, columns: tuple[str, ...], **values: str) -> FromClause:
    bound = text(statement).bindparams(*(bindparam(name, value) for name, value in values.items()))
    return bound.columns(*(column(name) for name in columns)).subquery("found")


def _tokenize_fields(prompt: str, negative: str, infotext: str) -> tuple[list[str], list[str], list[str]]:
    """The tokens of the three texts.

    An infotext repeats the prompts, so that words of theirs are left out; its last line, the parameters, is kept whole,
    so that phrases in it are found.
    """
    first, second = tokenize(prompt), tokenize(negative)
    known = {*first, *second}
    above, _, parameters = infotext.rpartition("\n")
    return first, second, [word for word in tokenize(above) if word not in known] + tokenize(parameters)


def _format_tsvector(parts: tuple[list[str], list[str], list[str]]) -> str:
    """A text search vector in PostgreSQL's notation: each token with its positions and its text's weight."""
    positions: defaultdict[str, list[str]] = defaultdict(list)
    numbers = count(1)
    for weight, part in zip(_WEIGHTS, parts, strict=True):
        for word, number in zip(part, numbers, strict=False):
            positions[word].append(f"{min(number, _MAX_POSITION)}{weight}")
    return " ".join(
        f"'{word}':{','.join(word_positions[:_MAX_POSITIONS])}" for word, word_positions in positions.items()
    )
