"""Fill a gallery with 25,000 entries and time searching and adding: milliseconds, by percentile.

The entries are blocked ones, which have no files; those added afterwards have a file of 500 kB each. The database is
SQLite in a temporary folder, or the PostgreSQL database of --database, which must be empty.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from safelight.database import migrate, open_database, write_transaction
from safelight.gallery import SCHEMA, BulkChange, Embedding, Entry, Gallery, NewEntry, Search
from safelight.gallery.entry_ids import make_entry_id, make_entry_key
from safelight.gallery.mapping import insert_entry
from safelight.moderation.policy import Decision
from safelight.settings import Settings

HERE = Path(__file__).parent
COLOURS = ("red", "blue", "green", "golden", "violet", "black", "white", "amber", "teal", "silver")
THINGS = ("apple", "lighthouse", "cat", "castle", "rocket", "coffee", "galaxy", "forest", "robot", "whale")
STYLES = ("3d style", "flat style", "watercolour", "oil painting", "photograph", "pixel art", "line drawing")
PLACES = ("on a table", "by the sea", "at night", "in the rain", "in a meadow", "under the stars")
WORDS = [f"{start}{end}" for start in ("bri", "cas", "dol", "fen", "gra") for end in map(str, range(400))]
SAMPLERS = ("Euler", "Euler a", "DPM++ 2M Karras", "DDIM", "UniPC")
CHECKPOINTS = ("starter", "landscape-xl", "portrait-15", "flux-small")
OWNERS = ("anna", "ben", "local", "local", "local")
VECTORS = np.random.default_rng(1).standard_normal((100, 1024), np.float32)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Fill the gallery, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=25_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--database", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(home=Path(scratch), database=SecretStr(given.database))
        engine = open_database(settings)
        migrate(engine, [SCHEMA])
        gallery, started = Gallery(engine, settings.home), time.perf_counter()
        with write_transaction(engine) as connection:
            for number in range(given.entries):
                new = entry(number)
                insert_entry(connection, make_entry_id(new.created, make_entry_key(new.job_id or "", 0)), new)
        if engine.dialect.name == "postgresql":
            with write_transaction(engine) as connection:
                connection.exec_driver_sql("ANALYZE")  # the server does this by itself within a minute
        print(f"{given.entries} entries in {time.perf_counter() - started:.1f} s", flush=True)
        rows = measure(gallery, given.entries, given.rounds) | {
            "adding a picture": measure_adding(gallery, given.rounds),
            "tagging 1,000 pictures": measure_marking(gallery),
            "deleting 1,000 pictures": measure_deleting(gallery),
        }
        engine.dispose()
    print("| | median ms | p95 ms | p99 ms |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['median']:.1f} | {row['p95']:.1f} | {row['p99']:.1f} |")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "gallery.json").write_text(
        json.dumps({"entries": given.entries, "milliseconds": rows})
    )


def entry(number: int) -> NewEntry:
    """A realistic entry; the same number gives the same entry."""
    chance = random.Random(number)  # noqa: S311
    prompt = (
        f"a {chance.choice(COLOURS)} {chance.choice(THINGS)} {chance.choice(PLACES)}, {chance.choice(STYLES)}, "
        + ", ".join(chance.choices(WORDS, k=12))
    )
    negative, sampler, checkpoint = "blurry, low quality", chance.choice(SAMPLERS), chance.choice(CHECKPOINTS)
    settings = f"Steps: 20, Sampler: {sampler}, Seed: {number}, Model: {checkpoint}"
    return NewEntry(
        job_id=f"job-{number}",
        owner=chance.choice(OWNERS),
        created=FIRST + timedelta(minutes=10 * number),
        width=chance.choice((512, 768, 1024)),
        height=chance.choice((512, 768, 1024)),
        decision=Decision.BLOCK,
        unsafe=chance.random(),
        scores={"sfw": 0.5, "nsfw": 0.5},
        policy="standard",
        prompt=prompt,
        negative_prompt=negative,
        mode="text-to-image",
        seed=number,
        steps=20,
        sampler=sampler,
        checkpoint=checkpoint,
        family="sd1",
        infotext=f"{prompt}\nNegative prompt: {negative}\n{settings}",
        record=json.dumps({"prompt": prompt, "filler": "x" * 1500}),
        data=None,
        embedding=Embedding("ab" * 32, "open-nsfw", VECTORS[number % len(VECTORS)]),
        favourite=chance.random() < 0.01,
        tags=("best",) if chance.random() < 0.02 else (),
    )


def measure(gallery: Gallery, entries: int, rounds: int) -> dict[str, dict[str, float]]:
    """Time each kind of search, alternately."""
    chance = random.Random(7)  # noqa: S311
    kinds = searches(gallery, chance, entries)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, look in kinds.items():
            started = time.perf_counter()
            look()
            times[name].append((time.perf_counter() - started) * 1000)
    return {name: percentiles(found) for name, found in times.items()}


def measure_adding(gallery: Gallery, rounds: int) -> dict[str, float]:
    """Time adding pictures with their files."""
    pixels, times = b"\x89PNG\r\n\x1a\n" + bytes(500_000), []
    for number in range(rounds):
        new = replace(entry(number), job_id=f"added-{number}", decision=Decision.ALLOW, data=pixels)
        started = time.perf_counter()
        gallery.add(new)
        times.append((time.perf_counter() - started) * 1000)
    return percentiles(times)


def measure_marking(gallery: Gallery, rounds: int = 5) -> dict[str, float]:
    """Time tagging a thousand entries at once."""
    ids, times = [entry.id for entry in some_entries(gallery, 1000)], []
    for number in range(rounds):
        started = time.perf_counter()
        gallery.annotate_many(ids, BulkChange(add_tags=(f"tag {number}",)))
        times.append((time.perf_counter() - started) * 1000)
    return percentiles(times)


def measure_deleting(gallery: Gallery, rounds: int = 3) -> dict[str, float]:
    """Time deleting a thousand entries at once."""
    times = []
    for _ in range(rounds):
        ids = [entry.id for entry in some_entries(gallery, 1000)]
        started = time.perf_counter()
        gallery.delete_many(ids)
        times.append((time.perf_counter() - started) * 1000)
    return percentiles(times)


def searches(gallery: Gallery, chance: random.Random, entries: int) -> dict[str, Callable[[], object]]:
    """Searches by name; each call searches for something else."""

    def look(owner: str | None = "local", **fields: object) -> object:
        return gallery.search(Search.parse(**fields), owner)

    def somewhere() -> str:
        return str(chance.randrange(1, entries))

    ids = [entry.id for entry in some_entries(gallery, 10_000)]
    small, large = (gallery.collections.add(name, "local") for name in ("small", "large"))
    gallery.annotate_many(ids[::33], BulkChange(add_to=(small.id,)))
    gallery.annotate_many(ids, BulkChange(add_to=(large.id,)))
    largest = gallery.search(Search(sort="largest"), "local")
    return {
        "newest, first page": look,
        "newest, any page": lambda: look(after=somewhere()),
        "one word, 10 % match": lambda: look(query=chance.choice(THINGS)),
        "two words and a beginning": lambda: look(
            query=f"{chance.choice(COLOURS)} {chance.choice(THINGS)} {chance.choice(WORDS)[:3]}"
        ),
        "rare word, 0.6 % match": lambda: look(query=chance.choice(WORDS)),
        "a word in all": lambda: look(query="blurry"),
        "no match": lambda: look(query="nowhere"),
        "one letter": lambda: look(query=chance.choice("abcdefg")),
        "one word, any page": lambda: look(query=chance.choice(THINGS), after=somewhere()),
        "a phrase": lambda: look(query=f'"{chance.choice(COLOURS)} {chance.choice(THINGS)}"'),
        "a word without another": lambda: look(query=f"{chance.choice(THINGS)} -{chance.choice(COLOURS)}"),
        "only without a word": lambda: look(query=f"-{chance.choice(THINGS)}"),
        "without a word in all": lambda: look(query="-blurry"),
        "either of two words": lambda: look(query=f"{chance.choice(THINGS)} OR {chance.choice(COLOURS)}"),
        "one word by relevance": lambda: look(query=chance.choice(THINGS), sort="relevance"),
        "a word in all by relevance": lambda: look(query="blurry", sort="relevance"),
        "oldest": lambda: look(sort="oldest"),
        "largest, first page": lambda: look(sort="largest"),
        "largest, second page": lambda: look(sort="largest", after=largest.next),
        "checkpoint, sampler, size": lambda: look(
            checkpoint=chance.choice(CHECKPOINTS), sampler=chance.choice(SAMPLERS), min_width=768
        ),
        "word and rare sampler": lambda: look(query=chance.choice(THINGS), sampler="none"),
        "seed": lambda: look(owner=None, seed=chance.randrange(entries)),
        "job": lambda: look(owner=None, job_id=f"job-{chance.randrange(entries)}"),
        "tag": lambda: look(tag="best"),
        "collection of 300": lambda: look(collection=small.id),
        "collection of 10,000": lambda: look(collection=large.id),
        "collection of 10,000, largest": lambda: look(collection=large.id, sort="largest"),
        "made from a picture": lambda: look(parent=ids[chance.randrange(len(ids))]),
        "list of collections": lambda: gallery.collections.list("local"),
        "favourites": lambda: look(favourite=True),
        "a day": lambda: look(
            since=FIRST + timedelta(days=(day := chance.randrange(150))),
            until=FIRST + timedelta(days=day + 1),
        ),
        "sampler that is nowhere": lambda: look(sampler="none"),
        "a thousand embeddings": lambda: gallery.embeddings("ab" * 32, chance.randrange(entries)),
        "which entries have one": lambda: gallery.embedding_numbers("ab" * 32, limit=entries),
        "facets": lambda: gallery.facets("local"),
        "facets of all": lambda: gallery.facets(None),
    }


def some_entries(gallery: Gallery, count: int) -> Iterator[Entry]:
    """The newest entries of an owner, at most so many."""
    found, after = 0, None
    while found < count:
        page = gallery.search(Search(limit=500, after=after), "local")
        yield from page.entries
        found, after = found + len(page.entries), page.next
        if after is None:
            return


def percentiles(times: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"median": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}


if __name__ == "__main__":
    main()
