"""Times putting jobs into the queue: milliseconds.

Jobs without a picture, with one of 1 MB and with one of 64 MB, as the server submits them once a request is checked.
SQLite in a temporary folder, or the PostgreSQL database that --database names, which has to be empty.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from pydantic import SecretStr

from safelight.database import blobs, migrate, open_database, write_transaction
from safelight.jobs.job import JobKind, Signal, Submission
from safelight.jobs.queue.store import JobStore
from safelight.jobs.queue_service import SCHEMAS
from safelight.settings import Settings

HERE = Path(__file__).parent
SIZES = {"no picture": 0, "1 MB": 10**6, "64 MB": 64 * 10**6}


def main() -> None:
    """Submit, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--database", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        engine = open_database(Settings(home=Path(scratch), database=SecretStr(given.database)))
        migrate(engine, SCHEMAS)
        ledger = JobStore(engine)
        rows = {
            name: timed(ledger, size, given.rounds if size < 10**7 else max(5, given.rounds // 10))
            for name, size in SIZES.items()
        }
        started = time.perf_counter()
        with write_transaction(engine) as connection:
            blobs.put(connection, random.Random(0).randbytes(SIZES["64 MB"]))  # noqa: S311
        alone = round((time.perf_counter() - started) * 1000, 1)
        engine.dispose()
    result = {"milliseconds": rows, "writing 64 MB and nothing else": alone}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "submitting.json").write_text(json.dumps(result))
    print(json.dumps(result, indent=1))


def timed(ledger: JobStore, size: int, rounds: int) -> dict[str, float]:
    """Submit jobs with a picture each, and cancel each at once."""
    times = []
    for number in range(rounds):
        data = random.Random(number).randbytes(size)  # noqa: S311
        digest = blobs.digest_of(data)
        request = {"prompt": "a red apple", "seed": number} | (
            {"init_image": {"blob": digest}} if size else {}
        )
        job = Submission.model_validate(
            {"kind": JobKind.GENERATE, "request": request, "checkpoint": "starter"}
        )
        started = time.perf_counter()
        job_id = ledger.submit(job, {digest: data} if size else {}).id
        times.append((time.perf_counter() - started) * 1000)
        ledger.send_signal(job_id, Signal.CANCEL)
    return {"median": round(statistics.median(times), 2), "longest": round(max(times), 2)}


if __name__ == "__main__":
    main()
