"""Searches in both databases, compared with a linear search over all entries."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.gallery.conftest import NOON, make_image_file, new_entry
from tests.hypothesis_profiles import example_count
from tests.postgres import empty_database

from safelight.database import migrate, open_database, write_transaction
from safelight.errors import GalleryError
from safelight.gallery import SCHEMA, Entry, Gallery, NewEntry, Search
from safelight.gallery.entry_ids import make_entry_id, make_entry_key
from safelight.gallery.mapping import insert_entry
from safelight.gallery.query_syntax import Term, parse_query
from safelight.gallery.tokenization import tokenize
from safelight.moderation.policy import Decision
from safelight.settings import Settings

THINGS = ("apple", "whale", "lighthouse", "crème brûlée", "apples")
PLACES = ("at night", "on the moon", "under water")
OWNERS = ("anna", "ben", None)
PIXELS = make_image_file(None)


@dataclass(frozen=True)
class FilledGallery:
    """A gallery with the entries that were added to it, in order."""

    gallery: Gallery
    entered: Sequence[NewEntry]


def some_entry(number: int) -> NewEntry:
    chance = random.Random(number)
    prompt = f"a {chance.choice(THINGS)} {chance.choice(PLACES)}"
    decision = chance.choice(tuple(Decision))
    return new_entry(
        number,
        prompt,
        owner=chance.choice(OWNERS),
        created=NOON + timedelta(hours=7 * number),
        decision=decision,
        data=None if decision is Decision.BLOCK else PIXELS,
        width=chance.choice((16, 32)),
        height=chance.choice((16, 32)),
        negative_prompt=chance.choice(("", "blurry", "apple")),
        checkpoint=chance.choice(("starter", "other", None)),
        sampler=chance.choice(("Euler", "DDIM")),
        favourite=chance.random() < 0.3,
        tags=tuple(chance.sample(("x", "y", "Ä"), k=chance.randint(0, 2))),
        infotext=f"{prompt}\nSteps: 20, Sampler: Euler, Model: m{number % 3}",
    )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledGallery]:
    home = tmp_path_factory.mktemp("full")
    if request.param == "sqlite":
        yield from fill_gallery(Settings(home=home))
    else:
        with empty_database(request.getfixturevalue("postgres")) as url:
            yield from fill_gallery(Settings(home=home, database=SecretStr(url)))


def fill_gallery(settings: Settings) -> Iterator[FilledGallery]:
    engine = open_database(settings)
    migrate(engine, [SCHEMA])
    entered = [some_entry(number) for number in range(60)]
    with write_transaction(engine) as connection:
        for new in entered:
            assert insert_entry(
                connection, make_entry_id(new.created, make_entry_key(str(new.job_id), 0)), new
            )
    yield FilledGallery(Gallery(engine, settings.home), entered)
    engine.dispose()


def seeds(entries: Sequence[Entry | NewEntry]) -> list[int | None]:
    return [entry.seed for entry in entries]


def matches(new: NewEntry, wanted: Search, owner: str | None) -> bool:
    """The meaning of a search, implemented a second time."""
    texts = texts_of(new)
    query = parse_query(wanted.query)
    equal = ("checkpoint", "sampler", "decision", "seed", "job_id", "favourite")
    return (
        (owner is None or new.owner == owner)
        and all(any(contains(texts, term) for term in group) for group in query.groups)
        and not any(contains(texts, term) for term in query.excluded)
        and (bool(query) or not wanted.query.strip())
        and all(getattr(wanted, name) in (None, getattr(new, name)) for name in equal)
        and (wanted.tag is None or wanted.tag in new.tags)
        and (wanted.parent is None or wanted.parent == new.parent_id)
        and (wanted.min_width or 0) <= new.width <= (wanted.max_width or 9999)
        and (wanted.min_height or 0) <= new.height <= (wanted.max_height or 9999)
        and (wanted.since is None or new.created >= wanted.since)
        and (wanted.until is None or new.created < wanted.until)
    )


def texts_of(new: NewEntry) -> list[list[str]]:
    """The words of prompt, negative prompt and infotext; of the infotext's prompts only those that are not theirs."""
    prompt, negative = tokenize(new.prompt), tokenize(new.negative_prompt)
    *above, last = (new.infotext or "").split("\n")
    others = [word for word in tokenize("\n".join(above)) if word not in (*prompt, *negative)]
    return [prompt, negative, others + tokenize(last)]


def contains(texts: list[list[str]], term: Term) -> bool:
    """Whether an entry with these texts contains a term."""
    if term.phrase:
        return any(is_run(text[start:], term) for text in texts for start in range(len(text)))
    *whole, last = term.words
    words = {word for text in texts for word in text}
    return words.issuperset(whole) and any(is_match(word, last, term) for word in words)


def is_run(text: list[str], term: Term) -> bool:
    """Whether a text begins with the words of a term."""
    begun, count = text[: len(term.words)], len(term.words)
    return (
        len(begun) == count and begun[:-1] == [*term.words[:-1]] and is_match(begun[-1], term.words[-1], term)
    )


def is_match(word: str, last: str, term: Term) -> bool:
    return word.startswith(last) if term.prefix else word == last


def rank(new: NewEntry, text: str) -> int:
    """2 where the prompt has the words one after the other, 1 where it matches, 0 elsewhere."""
    prompt, query = [tokenize(new.prompt)], parse_query(text)
    whole = query.whole_phrase
    together = whole is not None and contains(prompt, whole)
    return together + all(any(contains(prompt, term) for term in group) for group in query.groups)


def sorted_as(entered: Sequence[NewEntry], wanted: Search) -> list[NewEntry]:
    """The entries in the order of a search, implemented a second time."""
    numbered = list(enumerate(entered))
    keys: dict[str, Callable[[tuple[int, NewEntry]], Any]] = {
        "newest": lambda each: -each[0],
        "oldest": lambda each: each[0],
        "largest": lambda each: (-each[1].width * each[1].height, -each[0]),
        "smallest": lambda each: (each[1].width * each[1].height, each[0]),
        "relevance": lambda each: (-rank(each[1], wanted.query), -each[0]),
    }
    return [new for _, new in sorted(numbered, key=keys[wanted.sort])]


def all_pages(gallery: Gallery, wanted: Search, owner: str | None = None) -> list[Entry]:
    found: list[Entry] = []
    while True:
        page = gallery.search(wanted, owner)
        assert len(page.entries) <= wanted.limit
        found += page.entries
        if page.next is None:
            return found
        assert len(page.entries) == wanted.limit
        wanted = wanted.model_copy(update={"after": page.next})


TIMES = st.datetimes(
    datetime(2026, 11, 24),
    datetime(2026, 12, 14),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9))]),
)
QUERIES = (
    *("apple", "appl", "apple whale", "at apple", "BRÛLÉE", "creme br", "night, app", "blurry", "m1", "eul"),
    *("apple at ni", "at apple ni", "a apple", "apple blurry", "apple steps", "whale on the"),
    *(
        '"apple at"',
        '"at apple"',
        '"apple at ni',
        'moon "a apple" -blurry',
        '"steps 20"',
        '"sampler euler"',
        '"brulee',
    ),
    *(
        "apple -night",
        "-night apple",
        'apple -"on the moon"',
        "-blurry",
        '-apple -"at night"',
        "apple OR whale",
    ),
    *(
        'whale OR "creme brulee" -water',
        "apple OR apples OR whale night",
        "on-the-moon",
        "-on-the-moon",
        "moon OR",
    ),
    *('"night blurry"', '"moon apple"', "apple OR -night"),
)
SEARCHES = st.fixed_dictionaries(
    {"limit": st.integers(1, 30)},
    optional={
        "query": st.sampled_from((*QUERIES, " ", "!")),
        "sort": st.sampled_from(("newest", "oldest", "largest", "smallest")),
        "parent": st.sampled_from(("job-3", None)),
        "checkpoint": st.sampled_from(("starter", "other", "none")),
        "sampler": st.sampled_from(("Euler", "DDIM")),
        "decision": st.sampled_from(Decision),
        "seed": st.integers(0, 70),
        "job_id": st.sampled_from(("job-3", "job-4", "nothing")),
        "tag": st.sampled_from(("x", "y", "Ä", "ä")),
        "favourite": st.booleans(),
        "min_width": st.sampled_from((0, 16, 17, 33)),
        "max_width": st.sampled_from((15, 16, 31, 32)),
        "min_height": st.sampled_from((0, 16, 17, 33)),
        "max_height": st.sampled_from((15, 16, 31, 32)),
        "since": TIMES,
        "until": TIMES,
    },
)


@hypothesis_settings(max_examples=example_count(100), suppress_health_check=list(HealthCheck))
@given(SEARCHES, st.sampled_from(OWNERS))
def test_results_are_the_matching_entries(full: FilledGallery, fields: dict[str, Any], owner: str | None):
    wanted = Search.parse(**fields)
    expected = [new for new in sorted_as(full.entered, wanted) if matches(new, wanted, owner)]
    assert seeds(all_pages(full.gallery, wanted, owner)) == seeds(expected)


@pytest.mark.parametrize("query", QUERIES)
def test_the_best_matches_come_first(full: FilledGallery, query: str):
    for owner, sampler in (("anna", None), (None, "DDIM"), (None, None)):
        wanted = Search(query=query, sort="relevance", limit=4, sampler=sampler)
        expected = [new for new in sorted_as(full.entered, wanted) if matches(new, wanted, owner)]
        assert seeds(all_pages(full.gallery, wanted, owner)) == seeds(expected)
    finds_nothing = ('"at apple"', '"night blurry"', '"moon apple"', 'moon "a apple" -blurry')
    assert expected or query in finds_nothing, "a query that finds nothing tests nothing"


@pytest.mark.parametrize("sort", ["newest", "relevance"])
@pytest.mark.parametrize(
    "query",
    [
        '"', "'", '"apple', "apple'", "AND", "apple AND", "NOT apple", "apple OR", "NEAR(apple whale, 2)", "apple*",
        "*", "prompt:apple", "{prompt negative}: apple", "-apple", "^apple", "(apple", "apple)", "apple & | ! <->",
        "apple:*", "%", "_", "\\", "apple\\", "';--", "\0", "apple\0", "a" * 1000, "a " * 500, "猫", "ß",
    ],
)  # fmt: skip
def test_no_query_string_is_an_error(full: FilledGallery, query: str, sort: str):
    found = all_pages(full.gallery, Search(query=query, sort=sort if query.strip() else "newest"))
    if query.lstrip("-") != query:
        assert 10 < len(found) < 50
    elif query.strip("'\"*^-(){}:%_\\\0") == "apple":
        assert len(found) > 10


@hypothesis_settings(max_examples=example_count(60), suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(max_size=40), st.text(st.sampled_from('ab12 -"OR*():&|!<>\\\'"\0'), max_size=40)))
def test_any_text_is_a_query(full: FilledGallery, query: str):
    wanted = Search(query=query)
    expected = [new for new in reversed(full.entered) if matches(new, wanted, None)]
    assert seeds(all_pages(full.gallery, wanted)) == seeds(expected)


def test_letters_that_a_databases_own_tables_do_not_know(gallery: Gallery):
    entry = gallery.add(new_entry(prompt="\u19b0q"))  # New Tai Lue; a letter since Unicode 8
    assert gallery.search(Search(query="\u19b0")).entries == (entry,)
    assert gallery.search(Search(query="q")).entries == ()


def test_combining_marks_find_nothing_and_spaces_everything(full: FilledGallery):
    assert full.gallery.search(Search(query=" 🍎 !")).entries == ()
    assert len(full.gallery.search(Search(query="  ", limit=100)).entries) == 60


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0}, {"limit": 501}, {"seed": -1}, {"seed": 2**63}, {"min_width": -1}, {"max_width": 2**31},
        {"decision": "perhaps"}, {"since": datetime(2026, 1, 1)}, {"colour": "red"}, {"sort": "odd"},
        {"tag": ""}, {"checkpoint": "a\0"}, {"query": "x" * 1001}, {"query": "\ud800"}, {"after": "x" * 101},
    ],
)  # fmt: skip
def test_filters_out_of_range(fields: dict[str, Any]):
    with pytest.raises(GalleryError, match=next(iter(fields))) as caught:
        Search.parse(**fields)
    assert caught.value.http_status == 422


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "٣", "9" * 19, "5:x", "5:", ":5", "1:2:3"])
@pytest.mark.parametrize("sort", ["newest", "largest", "relevance"])
def test_invalid_cursors(full: FilledGallery, sort: str, after: str):
    with pytest.raises(GalleryError):
        full.gallery.search(Search(query="apple", sort=sort, after=after))


def test_the_former_name_of_sort(full: FilledGallery):
    assert Search.parse(query="x", order="relevance") == Search(query="x", sort="relevance")
    with pytest.raises(GalleryError, match="order"):
        Search.parse(sort="newest", order="oldest")


def test_sorting_by_relevance_needs_words(full: FilledGallery):
    with pytest.raises(GalleryError, match="words"):
        full.gallery.search(Search(sort="relevance"))


def test_words_of_the_prompt_weigh_most(gallery: Gallery):
    for number, (prompt, negative, model) in enumerate(
        [
            ("a whale", "red apple", "m"),
            ("a red apple", "", "m"),
            ("an apple, red", "", "m"),
            ("x", "", "red apple"),
        ]
    ):
        gallery.add(new_entry(number, prompt, negative_prompt=negative, infotext=f"Model: {model}"))
    assert seeds(gallery.search(Search(query="red apple", sort="relevance")).entries) == [1, 2, 3, 0]
    assert seeds(gallery.search(Search(query="red apple", sort="newest")).entries) == [3, 2, 1, 0]


@pytest.mark.parametrize("sort", ["newest", "oldest", "largest", "relevance"])
def test_pages_are_stable_while_others_add_and_delete(gallery: Gallery, sort: str):
    """A client that pages sees no entry twice, and misses none that existed throughout."""
    for number in range(9):
        gallery.add(new_entry(number, "apple " * (1 + number % 2) + "pie"))
    wanted, seen = Search(query="apple", sort=sort, limit=2), []
    for number in range(10, 20):
        page = gallery.search(wanted)
        seen += seeds(page.entries)
        if page.next is None:
            break
        wanted = wanted.model_copy(update={"after": page.next})
        gallery.add(new_entry(number, "apple pie"))
        if number == 11:
            gallery.delete(page.entries[-1].id)
    assert len(seen) == len(set(seen))
    assert set(range(9)) <= set(seen)


def test_facets(full: FilledGallery):
    for owner in OWNERS:
        found = full.gallery.facets(owner)
        mine = [new for new in full.entered if owner in (None, new.owner)]
        assert found.checkpoints == Counter(new.checkpoint for new in mine if new.checkpoint)
        assert found.samplers == Counter(new.sampler for new in mine)
        assert found.decisions == Counter(new.decision for new in mine)
        assert found.days == Counter(new.created.date() for new in mine)
        assert found.tags == Counter(tag for new in mine for tag in new.tags)
        assert list(found.tags.values()) == sorted(found.tags.values(), reverse=True)
        assert list(found.days) == sorted(found.days, reverse=True)
        assert list(found.samplers.values()) == sorted(found.samplers.values(), reverse=True)
    assert isinstance(next(iter(full.gallery.facets().days)), date)


def test_facets_of_an_empty_gallery(gallery: Gallery):
    found = gallery.facets("anna")
    assert (found.checkpoints, found.samplers, found.decisions, found.days) == ({}, {}, {}, {})
    assert (found.tags, found.collections) == ({}, {})
