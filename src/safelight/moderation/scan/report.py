"""The report of a finished scan: JSONL, CSV or Parquet, written atomically from the journal."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safelight.atomic_write import atomic_write
from safelight.errors import UsageError
from safelight.moderation.scan.journal import Row, read_rows

_ROWS_PER_CHUNK = 4096
_COLUMNS = (
    "path",
    "decision",
    "unsafe",
    "frame",
    "tile",
    "classifier",
    "classifier_digest",
    "arithmetic",
    "policy",
    "policy_version",
    "policy_digest",
    "notes",
    "error_code",
    "error_message",
)


def write_report(journal: Path, report: Path, labels: tuple[str, ...]) -> None:
    """Convert a journal into a report, under a temporary name first, and delete the journal.

    Args:
        journal: The finished journal.
        report: The report's path; its extension selects the format.
        labels: The classifier's labels; each has a column ``score_LABEL`` in CSV and Parquet.

    Raises:
        OutputError: The report cannot be written; the journal is kept.
    """
    with atomic_write(report) as temporary:
        writer_for(report)(journal, temporary, labels)
    journal.unlink()


def writer_for(report: Path) -> Callable[[Path, Path, tuple[str, ...]], None]:
    """Return the function that writes a report's format.

    Raises:
        UsageError: The extension is not that of a report format.
    """
    writer = _WRITERS.get(report.suffix.lower())
    if writer is None:
        raise UsageError(
            f"A report's name ends in {', '.join(_WRITERS)}, not {report.suffix or 'nothing'!r}."
        )
    return writer


def _write_jsonl(journal: Path, path: Path, labels: tuple[str, ...]) -> None:  # noqa: ARG001  the writers' signature
    with journal.open("rb") as source, path.open("wb") as target:
        source.readline()  # the header
        while block := source.read(1 << 20):
            target.write(block)


def _write_csv(journal: Path, path: Path, labels: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=_field_names(labels))
        writer.writeheader()
        for row in read_rows(journal):
            flat = _flatten(row, labels)
            writer.writerow(flat | {"embedding": json.dumps(row["embedding"]) if "embedding" in row else ""})


def _write_parquet(journal: Path, path: Path, labels: tuple[str, ...]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _parquet_schema(labels)
    rows = (_flatten(row, labels) | {"embedding": row.get("embedding")} for row in read_rows(journal))
    with pq.ParquetWriter(path, schema) as writer:
        for chunk in _chunks(rows):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))


def _parquet_schema(labels: tuple[str, ...]) -> Any:
    import pyarrow as pa

    kinds = {
        "unsafe": pa.float64(),
        "frame": pa.int32(),
        "tile": pa.int32(),
        "embedding": pa.list_(pa.float32()),
    }
    kinds |= {f"score_{label}": pa.float64() for label in labels}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in _field_names(labels)])


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    return iter(lambda: list(islice(rows, _ROWS_PER_CHUNK)), [])


def _field_names(labels: tuple[str, ...]) -> list[str]:
    return [*_COLUMNS[:3], *(f"score_{label}" for label in labels), *_COLUMNS[3:], "embedding"]


def _flatten(row: Row, labels: tuple[str, ...]) -> Row:
    classifier = row["classifier"] or {}
    policy = row["policy"] or {}
    error = row["error"] or {}
    return {
        "path": _replace_surrogates(row["path"]),
        "decision": row["decision"],
        "unsafe": row["unsafe"],
        **{f"score_{label}": row["scores"].get(label) for label in labels},
        "frame": row["frame"],
        "tile": row["tile"],
        "classifier": classifier.get("name"),
        "classifier_digest": classifier.get("digest"),
        "arithmetic": classifier.get("arithmetic"),
        "policy": policy.get("name"),
        "policy_version": policy.get("version"),
        "policy_digest": policy.get("digest"),
        "notes": "; ".join(row["notes"]),
        "error_code": error.get("code"),
        "error_message": _replace_surrogates(error.get("message")),
    }


def _replace_surrogates(text: str | None) -> str | None:
    """Replace bytes in a file name that are not text, which tables cannot store; the JSONL report keeps them."""
    return text and text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_WRITERS = MappingProxyType({".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet})
