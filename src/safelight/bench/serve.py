"""Compare the server under load with a minimal one: pictures per second, latencies, memory.

Both use the same weights; measurements alternate, so that noise of the machine affects both.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from safelight.errors import InternalError
from safelight.samples import sample_photographs

PROMPT = "a red apple, 3d style"
CLIENTS = (1, 4, 8)
START_TIMEOUT = 300.0
"""Timeout for a server's start, in seconds."""


@dataclass(frozen=True)
class Latency:
    """Response times of one kind of request.

    Args:
        name: The request.
        p50: Median in milliseconds.
        p99: 99th percentile in milliseconds.
        count: Number of requests.
    """

    name: str
    p50: float
    p99: float
    count: int


@dataclass(frozen=True)
class ServerThroughput:
    """Pictures per second with a number of clients, each of which sends its next request after the last response."""

    clients: int
    ours: float
    plain: float

    @property
    def ratio(self) -> float:
        """Our rate relative to the plain server's."""
        return self.ours / self.plain


@dataclass(frozen=True)
class SoakMeasurement:
    """Memory over a long time under load, in megabytes, averaged over the second and the last tenth of the time."""

    seconds: float
    pictures: int
    api_early: float
    api_late: float
    worker_early: float
    worker_late: float


@dataclass(frozen=True)
class ServerReport:
    """The results.

    Args:
        steps: Steps per picture.
        live_seconds: Time from the start of ``safelight serve`` to the first response of /health/live.
        ready_seconds: Time from the start until a worker claims jobs.
        first_step_ms: Median time from submitting a job to an idle server to the event of its first step.
        throughput: Throughput by number of clients.
        latencies: Response times while pictures are generated.
        api_mb: Resident memory of the API process, with the classifier loaded.
        plain_mb: Resident memory of the plain server.
        soak: Result of the soak test, if one was run.
    """

    steps: int
    live_seconds: float
    ready_seconds: float
    first_step_ms: float
    throughput: Sequence[ServerThroughput]
    latencies: Sequence[Latency]
    api_mb: float
    plain_mb: float
    soak: SoakMeasurement | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON output."""
        return asdict(self)


@dataclass(frozen=True)
class RunningServer:
    """A running server.

    Args:
        process: Its main process.
        url: Its base URL.
    """

    process: subprocess.Popen[bytes]
    url: str

    def memory_mb(self, *words: str) -> float:
        """Resident memory of the process whose command line has all these words; of the main process without any."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children()]
        found = next(each for each in family if all(word in each.cmdline() for word in words))
        return float(found.memory_info().rss / 1e6)


def measure_servers(
    checkpoint: Path,
    *,
    steps: int,
    seconds: float,
    soak: float = 0.0,
    on_message: Callable[[str], None] = lambda _: None,
) -> ServerReport:
    """Start both servers and measure.

    Args:
        checkpoint: A folder in Stable Diffusion's layout.
        steps: Steps per picture.
        seconds: Duration of each measurement.
        soak: Duration of the soak test in seconds; 0 for none.
        on_message: Called with progress messages for the user.
    """
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="safelight-bench-")))
        started = time.perf_counter()
        ours = opened.enter_context(safelight_server(home))
        live = _seconds_until_ready(ours.url + "/health/live", started)
        ready = _seconds_until_ready(ours.url + "/health/ready", started)
        plain = opened.enter_context(_start_plain_server(checkpoint))
        _seconds_until_ready(plain.url + "/alive", started)
        draw_ours, draw_plain = _safelight_request(ours.url, steps), _plain_request(plain.url, steps)
        for draw in (draw_ours, draw_plain):
            draw(0)
        on_message("Submit to first step …")
        first = statistics.median(_seconds_to_first_step(ours.url, steps, seed) for seed in range(5))
        throughput = []
        for clients in CLIENTS:
            on_message(f"Pictures per second with {clients} clients …")
            mine = [
                _measure_rate(draw_ours, clients, seconds / 2),
                _measure_rate(draw_ours, clients, seconds / 2),
            ]
            other = _measure_rate(draw_plain, clients, seconds)
            throughput.append(ServerThroughput(clients, statistics.mean(mine), other))
        on_message("Response times while pictures are generated …")
        latencies = _measure_latencies(ours.url, draw_ours, plain.url, draw_plain, seconds)
        api_mb, plain_mb = ours.memory_mb("api"), plain.memory_mb()
        plain.process.terminate()
        long = _run_soak(ours, draw_ours, soak, on_message) if soak else None
        return ServerReport(steps, live, ready, 1000 * first, throughput, latencies, api_mb, plain_mb, long)


@contextmanager
def safelight_server(
    home: Path, *, checkpoint: str = "starter", environment: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """A running ``safelight serve``.

    Args:
        home: Its data directory.
        checkpoint: What its worker loads at the start.
        environment: Further variables. Without any the studio's page is off, since the plain server has none either;
            bench/studio.py measures with it.
    """
    port = _free_port()
    command = [sys.executable, "-m", "safelight", "serve", "--port", str(port), "--checkpoint", checkpoint]
    variables = os.environ | {"SAFELIGHT_HOME": str(home), "SAFELIGHT_WEB_UI": "false", **(environment or {})}
    with _start_server(command, variables, port, home / "server.log") as served:
        yield served


def until_ready(url: str) -> None:
    """Wait until a server's worker takes jobs.

    Raises:
        InternalError: It does not within ``START_TIMEOUT`` seconds.
    """
    _seconds_until_ready(url + "/health/ready", time.perf_counter())


@contextmanager
def _start_plain_server(checkpoint: Path) -> Iterator[RunningServer]:
    port = _free_port()
    command = [sys.executable, "-m", "safelight.bench.plain_server", str(checkpoint), str(port)]
    with _start_server(command, dict(os.environ), port, Path(os.devnull)) as served:
        yield served


@contextmanager
def _start_server(
    command: list[str], environment: dict[str, str], port: int, log: Path
) -> Iterator[RunningServer]:
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stderr=errors, stdin=subprocess.DEVNULL)  # noqa: S603
    try:
        yield RunningServer(process, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _seconds_until_ready(url: str, started: float) -> float:
    """Seconds from a start to the first successful response."""
    while time.perf_counter() - started < START_TIMEOUT:
        try:
            if httpx2.get(url, timeout=5).status_code == 200:
                return time.perf_counter() - started
        except httpx2.TransportError:
            pass
        time.sleep(0.02)
    raise InternalError(f"{url} did not answer within {START_TIMEOUT:g} seconds.")


def _safelight_request(url: str, steps: int) -> Callable[[int], None]:
    def draw(seed: int) -> None:
        body = {"prompt": PROMPT, "seed": seed, "steps": steps, "width": 128, "height": 128}
        httpx2.post(url + "/sdapi/v1/txt2img", json=body, timeout=600).raise_for_status()

    return draw


def _plain_request(url: str, steps: int) -> Callable[[int], None]:
    def draw(seed: int) -> None:
        body = {"prompt": PROMPT, "seed": seed, "steps": steps}
        httpx2.post(url + "/draw", json=body, timeout=600).raise_for_status()

    return draw


def _seconds_to_first_step(url: str, steps: int, seed: int) -> float:
    """Seconds from submitting a job to the event of its first step."""
    body = {"kind": "generate", "prompt": PROMPT, "seed": seed, "steps": steps}
    started = time.perf_counter()
    job = httpx2.post(url + "/v1/jobs", json=body, timeout=60).raise_for_status().json()
    found = None
    with httpx2.stream("GET", f"{url}/v1/jobs/{job['id']}/events", timeout=600) as lines:
        for line in lines.iter_lines():
            if found is None and line.startswith("data:") and _has_step(json.loads(line[5:])):
                found = time.perf_counter() - started
    if found is None:
        raise InternalError("The job ended without news of a step.")
    return found


def _has_step(event: dict[str, Any]) -> bool:
    return bool(event.get("data", {}).get("step"))


def _measure_rate(generate: Callable[[int], None], clients: int, seconds: float) -> float:
    """Pictures per second; pictures in progress at the end are waited for, and that time counts."""
    started = time.perf_counter()

    def client(number: int) -> int:
        done = 0
        while time.perf_counter() - started < seconds:
            generate(1000 * number + done)
            done += 1
        return done

    with ThreadPoolExecutor(clients) as pool:
        total = sum(pool.map(client, range(clients)))
    return total / (time.perf_counter() - started)


def _measure_latencies(
    ours: str,
    generate_ours: Callable[[int], None],
    plain: str,
    generate_plain: Callable[[int], None],
    seconds: float,
) -> list[Latency]:
    photo = min(sample_photographs(), key=lambda path: path.stat().st_size).read_bytes()
    job = httpx2.get(ours + "/v1/jobs", params={"limit": 1}, timeout=60).json()["jobs"][0]["id"]
    with httpx2.Client(timeout=60) as client:
        client.post(ours + "/v1/moderate", content=photo, headers={"Content-Type": "image/jpeg"})

        def look() -> None:
            client.get(f"{ours}/v1/jobs/{job}").raise_for_status()

        def judge() -> None:
            client.post(
                ours + "/v1/moderate", content=photo, headers={"Content-Type": "image/jpeg"}
            ).raise_for_status()

        def alive() -> None:
            client.get(plain + "/alive").raise_for_status()

        return [
            _measure_latency("GET /v1/jobs/{id}", look, generate_ours, seconds),
            _measure_latency("POST /v1/moderate", judge, generate_ours, seconds),
            _measure_latency("plain server: GET /alive", alive, generate_plain, seconds),
        ]


def _measure_latency(
    name: str, request: Callable[[], None], generate: Callable[[int], None], seconds: float
) -> Latency:
    """Send a request every 20 ms while four clients keep the server busy."""
    drawing = threading.Thread(target=_measure_rate, args=(generate, 4, seconds))
    drawing.start()
    time.sleep(min(1.0, seconds / 4))
    times = []
    while drawing.is_alive():
        started = time.perf_counter()
        request()
        times.append(1000 * (time.perf_counter() - started))
        time.sleep(0.02)
    drawing.join()
    ranked = sorted(times)
    return Latency(name, statistics.median(ranked), ranked[int(0.99 * (len(ranked) - 1))], len(ranked))


def _run_soak(
    served: RunningServer, generate: Callable[[int], None], seconds: float, on_message: Callable[[str], None]
) -> SoakMeasurement:
    on_message(f"{seconds:g} seconds under load …")
    rates: list[float] = []
    drawing = threading.Thread(target=lambda: rates.append(_measure_rate(generate, 2, seconds)))
    drawing.start()
    samples = []
    while drawing.is_alive():
        samples.append((served.memory_mb("api"), served.memory_mb("worker")))
        time.sleep(min(5.0, seconds / 50))
    drawing.join()
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]
    means = [statistics.mean(sample[part] for sample in span) for part in (0, 1) for span in (early, late)]
    return SoakMeasurement(seconds, round(rates[0] * seconds), *means)
