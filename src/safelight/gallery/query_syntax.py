"""The syntax of searches: words, "exact phrases", -excluded ones, and OR between alternatives.

Every text is a query. What is no operator separates words or is one, and an operator without words is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from safelight.gallery.tokenization import tokenize

MAX_WORDS = 32
"""Words of a query that count; further ones are left out."""
_QUOTES = '"\u201c\u201d\u201e\u201f\uff02'  # also those that telephones write
_TERM = re.compile(
    rf"""
    (?P<minus>(?<!\S)-(?=\S))?  # at the start of a term: a hyphen within a word separates its parts
    (?:
        [{_QUOTES}](?P<phrase>[^{_QUOTES}]*)(?P<closed>[{_QUOTES}]?)
        | (?P<plain>[^\s{_QUOTES}]+)
    )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Term:
    """Words that an entry has to contain.

    Args:
        words: At least one token.
        phrase: Whether they have to stand one after the other in one text, as they do in quotes.
        prefix: Whether the last one may be the beginning of a word.
    """

    words: tuple[str, ...]
    phrase: bool = False
    prefix: bool = False


@dataclass(frozen=True)
class Query:
    """A parsed query: an entry has to contain a term of each group, and no excluded term.

    Args:
        groups: The alternatives of each group.
        excluded: Terms that no result contains.
    """

    groups: tuple[tuple[Term, ...], ...] = ()
    excluded: tuple[Term, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.groups or self.excluded)

    @property
    def whole_phrase(self) -> Term | None:
        """All words that are looked for as one phrase; None if there are alternatives."""
        terms = [group[0] for group in self.groups if len(group) == 1]
        if not terms or len(terms) < len(self.groups):
            return None
        words = tuple(word for term in terms for word in term.words)
        return Term(words, phrase=True, prefix=terms[-1].prefix)


def parse_query(text: str) -> Query:
    """Parse a query. Its last word may be a prefix, since it may still be typed, unless it is excluded or in quotes."""
    groups: list[tuple[Term, ...]] = []
    excluded: list[Term] = []
    words_left, either, last_is_open = MAX_WORDS, False, False
    for found in _TERM.finditer(text):
        if found["plain"] == "OR" and not found["minus"] and (groups or excluded):
            either = True
            continue
        words = tuple(tokenize(found["phrase"] or found["plain"] or ""))[:words_left]
        if not words:
            continue
        words_left -= len(words)
        term = Term(words, phrase=found["plain"] is None)
        if found["minus"]:
            excluded.append(term)
        elif either and groups:
            groups[-1] = (*groups[-1], term)
        else:
            groups.append((term,))
        either, last_is_open = False, not found["minus"] and not found["closed"]
    if last_is_open:
        groups[-1] = (*groups[-1][:-1], replace(groups[-1][-1], prefix=True))
    return Query(tuple(groups), tuple(excluded))
