"""Thousands of corrupted requests to a real server: none may make it fail, hang or log a defect.

Valid requests come from the OpenAPI document, through schemathesis, and from a few examples of what clients send. Each
is corrupted in one or several ways: values of other types, huge numbers, NaN, unpaired surrogates, deep nesting, other
content types, malformed forms, broken bytes. The same seed gives the same requests. `make fuzz-requests` runs it.
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
from tests.free_port import free_port
from tests.server.conftest import read_log, run_processes, wait_for_status
from tests.server.fake_worker import FakeWorker, red_png

from safelight.jobs.queue_service import prepare_database
from safelight.server.core.api_families import API_FAMILIES, api_family_of
from safelight.server.security.keys import SCHEMA
from safelight.settings import Settings

EXPECTED_ERROR_STATUSES = frozenset({501, 503, 507})
"""Statuses from 500 on that are no failures: not implemented, no capacity, or no disk space."""
TIMEOUT = 60.0
"""Seconds after which a request counts as unanswered."""
CONCURRENCY = 4
EXAMPLES_PER_OPERATION = 4
"""The number of valid requests that are generated for each operation of the document."""
PICTURE = base64.b64encode(red_png()).decode()
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
    "/v1/preprocess": {
        "image": PICTURE,
        "preprocessor": "canny",
        "parameters": {"low": 50},
        "resolution": 64,
    },
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
"""Bodies as clients send them, by path; those generated from the document are small."""
INVALID_VALUES: list[Any] = [
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
class FuzzRequest:
    """A request as it is sent.

    Args:
        operation: Method and path of the document.
        path: The path with its parameters, quoted.
        query: Names and values.
        body: A JSON value, the fields of a form, or bytes.
        content_type: The body's content type: JSON, FORM, another type, or empty without a body.
        headers: Headers other than the body's.
    """

    operation: str
    path: str
    query: list[tuple[str, str]] = field(default_factory=list)
    body: Any = None
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FuzzReport:
    """The outcome of all requests."""

    statuses: dict[str, Counter[int]] = field(
        default_factory=lambda: {family: Counter() for family in API_FAMILIES}
    )
    failed: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


def main() -> int:
    """Send the requests, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given_ = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder)) as port:
        valid = [*documented_requests(port), *example_requests()]
        print(
            f"{len(valid)} valid requests of {len({each.operation for each in valid})} operations", flush=True
        )
        began, figures = time.monotonic(), FuzzReport()
        spoilt = [corrupt(Random(f"{given_.seed} {number}"), valid) for number in range(given_.requests)]
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            list(threads.map(lambda asked: send(port, asked, figures), spoilt))
        seconds = time.monotonic() - began
        alive = request_status(port, FuzzRequest("GET /health/live", "/health/live"))[0]
        defects = [line for line in read_log(Path(folder)) if line["level"] in ("error", "critical")]
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
def run_server(home: Path) -> Iterator[int]:
    """Run a server on a data directory, with a fake worker that ends jobs at once; yields its port."""
    prepare_database(Settings(home=home), SCHEMA)
    port = free_port()
    with run_processes(
        home, ["api", "--port", str(port)], SAFELIGHT_WEB_UI="false", SAFELIGHT_MAX_PIXELS="4000000"
    ):
        worker = FakeWorker(home)
        worker.start()
        wait_for_status(f"http://127.0.0.1:{port}", "/health/ready")
        yield port
        worker.stop()


def documented_requests(port: int) -> list[FuzzRequest]:
    """Valid requests of every operation in the document."""
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json", timeout=60)
    found: list[FuzzRequest] = []
    some = settings(
        max_examples=EXAMPLES_PER_OPERATION,
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
            found.append(_request_of_case(case))

        some(take)()
    return found


def _request_of_case(case: Case) -> FuzzRequest:
    path = case.operation.path
    for name, value in (case.path_parameters or {}).items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    query = [(name, str(one)) for name, value in (case.query or {}).items() for one in _as_list(value)]
    kind = case.media_type or ""
    body = copy.deepcopy(case.body) if kind else None
    headers = {name: str(value) for name, value in (case.headers or {}).items()}
    return FuzzRequest(f"{case.method} {case.operation.path}", path, query, body, kind, headers)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def example_requests() -> list[FuzzRequest]:
    """Valid requests as clients send them; several copies of each, since most can be corrupted in them."""
    bodies = [
        FuzzRequest(f"POST {path}", path, body=body, content_type=JSON) for path, body in EXAMPLES.items()
    ]
    fields = {"image": red_png(), "prompt": "a lighthouse", "n": "1", "size": "256x256"}
    forms = [
        FuzzRequest(f"POST {path}", path, body=fields, content_type=FORM)
        for path in ("/v1/images/edits", "/v1/moderate")
    ]
    return (bodies + forms) * 20


def corrupt(chance: Random, valid: list[FuzzRequest]) -> FuzzRequest:
    """One of the valid requests, corrupted."""
    asked = copy.deepcopy(chance.choice(valid))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        ways: list[Callable[[Random, FuzzRequest], None]] = [_corrupt_query, _corrupt_path, _corrupt_header]
        if asked.content_type:
            ways += [_corrupt_body] * 12 + [_corrupt_content_type, _corrupt_bytes, _corrupt_bytes]
        chance.choice(ways)(chance, asked)
    return asked


def _corrupt_query(chance: Random, asked: FuzzRequest) -> None:
    names = [name for name, _ in asked.query] or ["limit", "after", "cursor", "q", "size", "x"]
    value = chance.choice(INVALID_VALUES)
    asked.query += [(chance.choice(names), value if isinstance(value, str) else json.dumps(value)[:3000])]


def _corrupt_path(chance: Random, asked: FuzzRequest) -> None:
    parts = asked.path.split("/")
    parts[chance.randrange(1, len(parts))] = chance.choice(ODD_SEGMENTS)
    asked.path = "/".join(parts)


def _corrupt_header(chance: Random, asked: FuzzRequest) -> None:
    name = chance.choice(list(ODD_HEADERS))
    asked.headers[name] = chance.choice(ODD_HEADERS[name])


def _corrupt_content_type(chance: Random, asked: FuzzRequest) -> None:
    asked.body, asked.content_type = encode_body(chance, asked)[0], chance.choice(ODD_TYPES)


def _corrupt_bytes(chance: Random, asked: FuzzRequest) -> None:
    """Cut the body, change or insert bytes, or encode it differently."""
    body, kind = encode_body(chance, asked)
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
    asked.body, asked.content_type = bytes(data), kind


def _corrupt_body(chance: Random, asked: FuzzRequest) -> None:
    if not isinstance(asked.body, dict | list):
        asked.body = (
            _invalid_value(chance) if asked.content_type == JSON else chance.randbytes(chance.randrange(2000))
        )
        return
    places = list(_iter_positions(asked.body))
    inside, key = chance.choice(places) if places else (asked.body, None)
    match chance.randrange(8):
        case 0 if key is not None:
            del inside[key]
        case 1 if isinstance(inside, dict):
            inside[chance.choice(("", "x", "\ud800", "__class__", "image", "mask", "n"))] = chance.choice(
                INVALID_VALUES
            )
        case 2 if key is not None:
            inside[key] = _nest(inside[key], chance.choice((3, 60, 70, 150)))
        case 3 if key is not None and isinstance(inside[key], str):
            cut = chance.randrange(len(inside[key]) + 1)
            inside[key] = (
                inside[key][:cut]
                + chance.choice(("\0", "\ud800", "é", "\U0001f600", "\n"))
                + inside[key][cut:]
            )
        case _ if key is not None:
            inside[key] = _invalid_value(chance)


def _invalid_value(chance: Random) -> Any:
    return copy.deepcopy(chance.choice(INVALID_VALUES))


def _iter_positions(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within a value with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _iter_positions(value[key])


def _nest(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def encode_body(chance: Random, asked: FuzzRequest) -> tuple[bytes, str]:
    """The body and the content type as they are sent."""
    if isinstance(asked.body, bytes):
        return asked.body, asked.content_type
    if asked.content_type == FORM:
        return _encode_form(chance, asked.body if isinstance(asked.body, dict) else {"x": asked.body})
    return json.dumps(asked.body).encode(), asked.content_type


def _encode_form(chance: Random, fields: dict[str, Any]) -> tuple[bytes, str]:
    """A multipart form, malformed in one of twelve ways or well-formed."""
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


def send(port: int, asked: FuzzRequest, figures: FuzzReport) -> None:
    """Send a request and record the outcome."""
    found, answer = request_status(port, asked)
    told = f"{found} {asked!r:.1500}"
    if not found:
        figures.unanswered.append(f"{answer} {told}")
        return
    figures.statuses[api_family_of(asked.operation.split()[1]).name][found] += 1
    if found >= 500 and found not in EXPECTED_ERROR_STATUSES:
        figures.failed.append(f"{told} -> {answer[:500]}")


def request_status(port: int, asked: FuzzRequest) -> tuple[int, str]:
    """The status of the response and its beginning; 0 and the reason where there is no response."""
    body, kind = encode_body(Random(0), asked) if asked.content_type else (None, "")
    query = "&".join(f"{quote(name)}={quote(value, errors='surrogatepass')}" for name, value in asked.query)
    headers = {"Host": "localhost", **({"Content-Type": kind} if kind else {}), **asked.headers}
    target = quote(asked.path, safe="/%{}*-._~") + (f"?{query}" if query else "")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with closing(connection):
        try:
            connection.request(asked.operation.split()[0], target, body, headers)
        except ConnectionError:  # refused before all of it was sent; the response is there
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
