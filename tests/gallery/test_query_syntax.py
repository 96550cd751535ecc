from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.gallery.query_syntax import MAX_WORDS, Query, Term, parse_query


def word(*words: str, prefix: bool = False) -> Term:
    return Term(words, prefix=prefix)


def phrase(*words: str, prefix: bool = False) -> Term:
    return Term(words, phrase=True, prefix=prefix)


def groups(*terms: Term | tuple[Term, ...]) -> tuple[tuple[Term, ...], ...]:
    return tuple(term if isinstance(term, tuple) else (term,) for term in terms)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Query()),
        ("Red apple", Query(groups(word("red"), word("apple", prefix=True)))),
        ("3d-style", Query(groups(word("3d", "style", prefix=True)))),
        ('"red apple"', Query(groups(phrase("red", "apple")))),
        ('"red app', Query(groups(phrase("red", "app", prefix=True)))),
        ("\u201cred apple\u201d", Query(groups(phrase("red", "apple")))),
        ('a"b c"d', Query(groups(word("a"), phrase("b", "c"), word("d", prefix=True)))),
        ('apple ""', Query(groups(word("apple", prefix=True)))),
        ("apple -pear", Query(groups(word("apple")), (word("pear"),))),
        ('-"green pear" apple', Query(groups(word("apple", prefix=True)), (phrase("green", "pear"),))),
        ("-3d-style", Query((), (word("3d", "style"),))),
        ("--pear", Query((), (word("pear"),))),
        ("red - blue", Query(groups(word("red"), word("blue", prefix=True)))),
        ("red OR blue apple", Query(groups((word("red"), word("blue")), word("apple", prefix=True)))),
        ('a OR b OR "c d"', Query(groups((word("a"), word("b"), phrase("c", "d"))))),
        ("apple or pear", Query(groups(word("apple"), word("or"), word("pear", prefix=True)))),
        ("apple OR", Query(groups(word("apple", prefix=True)))),
        ("apple OR OR pear", Query(groups((word("apple"), word("pear", prefix=True))))),
        ("OR", Query(groups(word("or", prefix=True)))),
        ("OR apple", Query(groups(word("or"), word("apple", prefix=True)))),
        ("apple OR -pear", Query(groups(word("apple")), (word("pear"),))),
        ("-pear OR apple", Query(groups(word("apple", prefix=True)), (word("pear"),))),
        ("-", Query()),
        ('"" -"" - OR', Query(groups(word("or", prefix=True)))),
    ],
)
def test_what_a_query_means(text: str, found: Query) -> None:
    assert parse_query(text) == found


def test_the_number_of_words_is_limited() -> None:
    query = parse_query("word " * 100 + "-other")
    assert len(query.groups) == MAX_WORDS
    assert query.excluded == ()
    assert parse_query('"' + "word " * 100).groups[0][0].words == ("word",) * MAX_WORDS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("red app", phrase("red", "app", prefix=True)),
        ('red "big apple" -pear', phrase("red", "big", "apple")),
        ("red OR blue apple", None),
        ("-pear", None),
    ],
)
def test_all_words_as_one_phrase(text: str, found: Term | None) -> None:
    assert parse_query(text).whole_phrase == found


@given(st.text(st.sampled_from('ab -"OR\u201c\u732b\0*():'), max_size=30))
def test_every_text_is_a_query(text: str) -> None:
    query = parse_query(text)
    terms = [*(term for group in query.groups for term in group), *query.excluded]
    assert all(term.words and all(word.isalnum() for word in term.words) for term in terms)
    assert all(query.groups)
    assert not any(term.prefix for term in query.excluded)
