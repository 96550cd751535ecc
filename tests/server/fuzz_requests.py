"""Spoilt requests to a real server, thousands of them: none may fail it, hang it or show a defect in its log.

Valid requests come from the OpenAPI document, through schemathesis, and from a few examples of what clients send. Each
is spoilt in one way or several: values of other types, huge numbers, NaN, halves of characters, deep nesting, other
content types, odd forms, broken bytes. The same seed gives the same requests. `make fuzz-requests` runs it.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import base64
import copy
import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.generation.case import Case
from tests.server.conftest import free_port, log_of, processes, wait_for
from tests.server.stand_in import StandIn, png

from safelight.jobs.queue_service import prepare
from safelight.server.core.api_families import API_FAMILIES, api_family_of
from safelight.server.security.keys import SCHEMA
from safelight.settings import Settings

HONEST = frozenset({501, 503, 507})
"""Statuses above 499 that are no failures: what we do not do, have no room for, or no disk."""
PATIENCE = 60.0
"""Seconds after which a request counts as unanswered."""
AT_ONCE = 4
CASES = 4
"""Valid requests of each operation that are taken from the document."""
PICTURE = base64.b64encode(png()).decode()
JSON, FORM = "application/json", "multipart/form-data"
EXAMPLES: dict[str, Any] = {
    "/v1/jobs": {
        "kind": "generate",
        "prompt": "a lighthouse",
        "steps": 2,
        "width": 64,
        "height": 64,
        "seed": 1,
    },
    "/v1/moderate": {"image": PICTURE},
    "/v1/moderate/heat": {"image": PICTURE},
    "/v1/recall": {"image": PICTURE},
    "/v1/prompts/explain": {"prompt": "a (red:1.2) [fox|wolf], __animal__", "steps": 20},
    "/v1/images/generations": {
        "prompt": "a lighthouse",
        "n": 1,
        "size": "256x256",
        "response_format": "b64_json",
    },
    "/v1/moderations": {
        "input": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}]
    },
    "/sdapi/v1/txt2img": {
        "prompt": "a lighthouse",
        "steps": 2,
        "override_settings": {},
        "alwayson_scripts": {},
    },
    "/sdapi/v1/img2img": {"prompt": "a lighthouse", "init_images": [PICTURE], "mask": PICTURE, "steps": 2},
    "/sdapi/v1/extra-single-image": {"image": PICTURE, "upscaling_resize": 2, "upscaler_1": "Lanczos"},
    "/sdapi/v1/extra-batch-images": {"imageList": [{"data": PICTURE, "name": "a.png"}], "upscaler_1": "None"},
    "/sdapi/v1/png-info": {"image": PICTURE},
    "/sdapi/v1/options": {"CLIP_stop_at_last_layers": 1, "samples_format": "png"},
    "/internal/progress": {"id_task": "task(1)", "live_preview": True, "id_live_preview": -1},
}
"""Bodies as clients send them, by path; the document's own are small."""
WRONG: list[Any] = [
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 10**40, -(10**400), 2**31, 2**63, 2**64),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        " ",
        "0",
        "NaN",
        "null",
        "\0",
        "\ud800",
        "\udfff\ud800",
        "\u202e",
    ),
    *(
        "x" * 70_000,
        "../../etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "data:image/png;base64,",
        "=" * 9,
    ),
    *(
        "'; DROP TABLE jobs; --",
        "%s%n{0}{{}}",
        "<script>",
        "[a|" * 200,
        "(" * 500,
        "__a__" * 50,
        "a:b:c" * 99,
    ),
    *([], {}, [[]], [None], [{}] * 50, {"": None}, {"__proto__": {}}, {"a" * 9999: 1}, [0] * 5000),
]
ODD_SEGMENTS = (
    "..",
    "%2e%2e",
    "%00",
    "%ff",
    "a" * 3000,
    "%ed%a0%80",
    "*",
    "1e400",
    "-1",
    "null",
    "%2f",
    " ",
    "{}",
)
ODD_TYPES = (
    *(
        "text/plain",
        "application/xml",
        "image/png",
        "image/*",
        "application/json; charset=utf-7",
        "multipart/form-data",
    ),
    *(
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="a\tb"',
        "multipart/mixed; boundary=x",
        "",
    ),
    *(
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/problem+json",
        "/;,=",
        "a" * 999,
    ),
)
ODD_HEADERS = {
    "Accept": ("*/*;q=nan", "image/webp;q=1e400,*", ",;=", "text/html"),
    "Range": ("bytes=0-", "bytes=-1", "bytes=9-1,1-9", "bytes=99999999999999999999-", "x"),
    "If-None-Match": ("*", '"x"', 'W/"', "," * 500),
    "Last-Event-ID": ("-1", "1e9", "9" * 400, "\xff"),
    "Idempotency-Key": ("", "x" * 5000, "\xfc", "a b"),
    "Content-Encoding": ("gzip", "br", "deflate, gzip"),
    "Authorization": ("Basic !!!", "Bearer", "Basic Og==", "Digest x", "\xff"),
    "Cookie": ("safelight_session=x", "safelight_session=" + "x" * 4000, "=;=;", "safelight_session"),
    "X-API-Key": ("x", "\xff" * 9),
    "Sec-Fetch-Site": ("cross-site", "none", "?"),
    "Origin": ("null", "http://[::1", "http://localhost"),
}


@dataclass
class Asked:
    """A request as it is sent.

    Args:
        operation: Method and path of the document.
        path: With its parameters, quoted.
        query: Names and values.
        body: JSON's value, a form's fields, or bytes.
        kind: What the body is: JSON, FORM, another type, or empty without one.
        headers: Others than the body's.
    """

    operation: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    body: Any = None
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Figures:
    """What came of all requests."""

    statuses: dict[str, Counter[int]] = field(
        default_factory=lambda: {family: Counter() for family in API_FAMILIES}
    )
    failed: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


def main() -> int:
    """Ask, print, and say whether all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given_ = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as port:
        valid = [*documented(port), *examples()]
        print(
            f"{len(valid)} valid requests of {len({each.operation for each in valid})} operations", flush=True
        )
        began, figures = time.monotonic(), Figures()
        spoilt = [spoil(Random(f"{given_.seed} {number}"), valid) for number in range(given_.requests)]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda asked: send(port, asked, figures), spoilt))
        seconds = time.monotonic() - began
        alive = status(port, Asked("GET /health/live", "/health/live"))[0]
        defects = [line for line in log_of(Path(folder)) if line["level"] in ("error", "critical")]
    for family, statuses in figures.statuses.items():
        classes = Counter[str]()
        for found, count in statuses.items():
            classes[str(found) if found >= 500 else f"{found // 100}xx"] += count
        told = ", ".join(f"{count} of {name}" for name, count in sorted(classes.items()))
        print(f"{family}: {statuses.total()} requests: {told}")
    print(
        f"{given_.requests} requests, seed {given_.seed}, {seconds:.0f} s: {len(figures.failed)} failed, "
        f"{len(figures.unanswered)} unanswered, {len(defects)} defects logged; afterwards it lives: {alive == 200}"
    )
    for line in (*figures.failed, *figures.unanswered, *(json.dumps(line) for line in defects)):
        print(line[:2000])
    return int(bool(figures.failed or figures.unanswered or defects or alive != 200))


@contextmanager
def serving(home: Path) -> Iterator[int]:
    """The port of a server on a data directory, whose jobs end at once."""
    prepare(Settings(home=home), SCHEMA)
    port = free_port()
    with processes(
        home, ["api", "--port", str(port)], SAFELIGHT_STUDIO="false", SAFELIGHT_MAX_PIXELS="4000000"
    ):
        worker = StandIn(home)
        worker.start()
        wait_for(f"http://127.0.0.1:{port}", "/health/ready")
        yield port
        worker.stop()


def documented(port: int) -> list[Asked]:
    """Valid requests of every operation in the document."""
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json", timeout=60)
    found: list[Asked] = []
    some = settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for result in document.get_all_operations():
        operation = result.ok()

        @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        def take(case: Case) -> None:
            found.append(_asked(case))

        some(take)()
    return found


def _asked(case: Case) -> Asked:
    path = case.operation.path
    for name, value in (case.path_parameters or {}).items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    query = [(name, str(one)) for name, value in (case.query or {}).items() for one in _each(value)]
    kind = case.media_type or ""
    body = copy.deepcopy(case.body) if kind else None
    headers = {name: str(value) for name, value in (case.headers or {}).items()}
    return Asked(f"{case.method} {case.operation.path}", path, query, body, kind, headers)


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def examples() -> list[Asked]:
    """Valid requests as clients make them; several of each, since most can be spoilt about them."""
    bodies = [Asked(f"POST {path}", path, body=body, kind=JSON) for path, body in EXAMPLES.items()]
    fields = {"image": png(), "prompt": "a lighthouse", "n": "1", "size": "256x256"}
    forms = [
        Asked(f"POST {path}", path, body=fields, kind=FORM) for path in ("/v1/images/edits", "/v1/moderate")
    ]
    return (bodies + forms) * 20


def spoil(chance: Random, valid: list[Asked]) -> Asked:
    """One of the valid requests, with something wrong."""
    asked = copy.deepcopy(chance.choice(valid))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        ways: list[Callable[[Random, Asked], None]] = [_spoil_query, _spoil_path, _spoil_header]
        if asked.kind:
            ways += [_spoil_body] * 12 + [_spoil_type, _spoil_bytes, _spoil_bytes]
        chance.choice(ways)(chance, asked)
    return asked


def _spoil_query(chance: Random, asked: Asked) -> None:
    names = [name for name, _ in asked.query] or ["limit", "after", "cursor", "q", "size", "x"]
    value = chance.choice(WRONG)
    asked.query += [(chance.choice(names), value if isinstance(value, str) else json.dumps(value)[:3000])]


def _spoil_path(chance: Random, asked: Asked) -> None:
    parts = asked.path.split("/")
    parts[chance.randrange(1, len(parts))] = chance.choice(ODD_SEGMENTS)
    asked.path = "/".join(parts)


def _spoil_header(chance: Random, asked: Asked) -> None:
    name = chance.choice(list(ODD_HEADERS))
    asked.headers[name] = chance.choice(ODD_HEADERS[name])


def _spoil_type(chance: Random, asked: Asked) -> None:
    asked.body, asked.kind = encoded(chance, asked)[0], chance.choice(ODD_TYPES)


def _spoil_bytes(chance: Random, asked: Asked) -> None:
    """Cut the body, change or add bytes, or write it in another encoding."""
    body, kind = encoded(chance, asked)
    data = bytearray(body)
    at = chance.randrange(len(data) + 1)
    match chance.randrange(6):
        case 0:
            del data[at:]
        case 1:
            data[at:at] = chance.randbytes(chance.randrange(1, 50))
        case 2:
            data[at : at + 1] = b"\xff\xed\xa0\x80"
        case 3:
            data = bytearray(body.decode("latin-1").encode("utf-16"))
        case 4:
            data = bytearray(b"\xef\xbb\xbf" + body)
        case _:
            data = bytearray(b"[" * 70_000 + body)
    asked.body, asked.kind = bytes(data), kind


def _spoil_body(chance: Random, asked: Asked) -> None:
    if not isinstance(asked.body, dict | list):
        asked.body = _wrong(chance) if asked.kind == JSON else chance.randbytes(chance.randrange(2000))
        return
    places = list(_places(asked.body))
    inside, key = chance.choice(places) if places else (asked.body, None)
    match chance.randrange(8):
        case 0 if key is not None:
            del inside[key]
        case 1 if isinstance(inside, dict):
            inside[chance.choice(("", "x", "\ud800", "__class__", "image", "mask", "n"))] = chance.choice(
                WRONG
            )
        case 2 if key is not None:
            inside[key] = _deep(inside[key], chance.choice((3, 60, 70, 150)))
        case 3 if key is not None and isinstance(inside[key], str):
            cut = chance.randrange(len(inside[key]) + 1)
            inside[key] = (
                inside[key][:cut]
                + chance.choice(("\0", "\ud800", "é", "\U0001f600", "\n"))
                + inside[key][cut:]
            )
        case _ if key is not None:
            inside[key] = _wrong(chance)


def _wrong(chance: Random) -> Any:
    return copy.deepcopy(chance.choice(WRONG))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within a value with every key of it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _deep(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def encoded(chance: Random, asked: Asked) -> tuple[bytes, str]:
    """A body and its content type as they are sent."""
    if isinstance(asked.body, bytes):
        return asked.body, asked.kind
    if asked.kind == FORM:
        return _form(chance, asked.body if isinstance(asked.body, dict) else {"x": asked.body})
    return json.dumps(asked.body).encode(), asked.kind


def _form(chance: Random, fields: dict[str, Any]) -> tuple[bytes, str]:
    """A form, odd in one of twelve ways or in none."""
    boundary, odd = "b0undary", chance.randrange(24)
    parts = []
    for name, value in fields.items():
        data = value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
        file = isinstance(value, bytes) != (odd == 0)
        label = name.encode(errors="surrogatepass").decode("latin-1")
        head = f'Content-Disposition: form-data; name="{label}"' + ('; filename="a.png"' if file else "")
        head = {
            1: head.replace("name=", "nam="),
            2: f"{head}; filename*=utf-8''%ff%00",
            3: f"X-Long: {'x' * 20_000}\r\n{head}",
            4: "",
            5: head.replace('"', ""),
            6: f"{head}\r\nContent-Type: application/json",
            7: f"{head}\r\nContent-Transfer-Encoding: base64",
        }.get(odd, head)
        parts += [f"--{boundary}\r\n{head}\r\n\r\n".encode("latin-1") + data + b"\r\n"] * (
            300 if odd == 8 else 1
        )
    end = {9: "", 10: f"--{boundary}", 11: f"--{boundary}--" * 9}.get(odd, f"--{boundary}--\r\n")
    return b"".join(parts) + end.encode(), f"{FORM}; boundary={boundary}"


def send(port: int, asked: Asked, figures: Figures) -> None:
    """Send a request and note what came of it."""
    found, answer = status(port, asked)
    told = f"{found} {asked!r:.1500}"
    if not found:
        figures.unanswered.append(f"{answer} {told}")
        return
    figures.statuses[api_family_of(asked.operation.split()[1]).name][found] += 1
    if found >= 500 and found not in HONEST:
        figures.failed.append(f"{told} -> {answer[:500]}")


def status(port: int, asked: Asked) -> tuple[int, str]:
    """The status of the answer and its beginning; 0 and why where there is none."""
    body, kind = encoded(Random(0), asked) if asked.kind else (None, "")
    query = "&".join(f"{quote(name)}={quote(value, errors='surrogatepass')}" for name, value in asked.query)
    headers = {"Host": "localhost", **({"Content-Type": kind} if kind else {}), **asked.headers}
    target = quote(asked.path, safe="/%{}*-._~") + (f"?{query}" if query else "")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with closing(connection):
        try:
            connection.request(asked.operation.split()[0], target, body, headers)
        except ConnectionError:  # refused before all of it was sent; the answer is there
            pass
        except ValueError as error:
            return 400, f"not sent: {error}"
        try:
            response = connection.getresponse()
            return response.status, response.read(1000).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
