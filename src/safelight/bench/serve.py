"""The server under load, beside a plain one: pictures a second, waiting, answers meanwhile, memory.

Both draw with the same weights; rounds alternate, since machines are noisy.
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
START = 300.0
"""Seconds a server may take to start."""


@dataclass(frozen=True)
class Latency:
    """Answers to one kind of request.

    Args:
        name: Which.
        p50: Median, in milliseconds.
        p99: What 99 of 100 stay under, in milliseconds.
        count: How many were measured.
    """

    name: str
    p50: float
    p99: float
    count: int


@dataclass(frozen=True)
class Throughput:
    """Pictures a second under so many clients, each of which asks for the next when it has the last."""

    clients: int
    ours: float
    plain: float

    @property
    def ratio(self) -> float:
        """Ours for each of the plain server's."""
        return self.ours / self.plain


@dataclass(frozen=True)
class Soak:
    """Memory over a long time under load, in megabytes, averaged over the second and the last tenth."""

    seconds: float
    pictures: int
    api_early: float
    api_late: float
    worker_early: float
    worker_late: float


@dataclass(frozen=True)
class Report:
    """What was measured.

    Args:
        steps: Of each picture.
        live_seconds: From the start of ``safelight serve`` to the first answer of /health/live.
        ready_seconds: To the moment a worker takes jobs.
        first_step_ms: Median, from submitting a job to an idle server to the news of its first step.
        throughput: By number of clients.
        latencies: While pictures are being drawn.
        api_mb: Resident memory of the API process, with the classifier loaded.
        plain_mb: Of the plain server.
        soak: If one was asked for.
    """

    steps: int
    live_seconds: float
    ready_seconds: float
    first_step_ms: float
    throughput: Sequence[Throughput]
    latencies: Sequence[Latency]
    api_mb: float
    plain_mb: float
    soak: Soak | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON output."""
        return asdict(self)


@dataclass(frozen=True)
class Served:
    """A running server.

    Args:
        process: Its first process.
        url: Where it answers.
    """

    process: subprocess.Popen[bytes]
    url: str

    def megabytes(self, *words: str) -> float:
        """Resident memory of the process whose command has all these words, or of the first one."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children()]
        found = next(each for each in family if all(word in each.cmdline() for word in words))
        return float(found.memory_info().rss / 1e6)


def measure(
    checkpoint: Path,
    *,
    steps: int,
    seconds: float,
    soak: float = 0.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Start both servers and measure.

    Args:
        checkpoint: A folder of Stable Diffusion's layout.
        steps: Of each picture.
        seconds: How long each measurement takes.
        soak: Seconds under load in the end; 0 for none.
        tell: Called with a line for the user.
    """
    with ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="safelight-bench-")))
        started = time.perf_counter()
        ours = opened.enter_context(safelight_server(home))
        live = _until(ours.url + "/health/live", started)
        ready = _until(ours.url + "/health/ready", started)
        plain = opened.enter_context(_plain(checkpoint))
        _until(plain.url + "/alive", started)
        draw_ours, draw_plain = _drawing(ours.url, steps), _plain_drawing(plain.url, steps)
        for draw in (draw_ours, draw_plain):
            draw(0)
        tell("Submit to first step …")
        first = statistics.median(_first_step(ours.url, steps, seed) for seed in range(5))
        throughput = []
        for clients in CLIENTS:
            tell(f"Pictures a second with {clients} clients …")
            mine = [_rate(draw_ours, clients, seconds / 2), _rate(draw_ours, clients, seconds / 2)]
            other = _rate(draw_plain, clients, seconds)
            throughput.append(Throughput(clients, statistics.mean(mine), other))
        tell("Answers while pictures are drawn …")
        latencies = _latencies(ours.url, draw_ours, plain.url, draw_plain, seconds)
        api_mb, plain_mb = ours.megabytes("api"), plain.megabytes()
        plain.process.terminate()
        long = _soak(ours, draw_ours, soak, tell) if soak else None
        return Report(steps, live, ready, 1000 * first, throughput, latencies, api_mb, plain_mb, long)


@contextmanager
def safelight_server(
    home: Path, *, checkpoint: str = "starter", environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A running ``safelight serve``.

    Args:
        home: Its data directory.
        checkpoint: What its worker loads at the start.
        environment: Further variables. Without any the studio's page is off, since the plain server has none either;
            bench/studio.py measures with it.
    """
    port = _free_port()
    command = [sys.executable, "-m", "safelight", "serve", "--port", str(port), "--checkpoint", checkpoint]
    variables = os.environ | {"SAFELIGHT_HOME": str(home), "SAFELIGHT_STUDIO": "false", **(environment or {})}
    with _running(command, variables, port, home / "server.log") as served:
        yield served


def until_ready(url: str) -> None:
    """Wait until a server's worker takes jobs.

    Raises:
        InternalError: It does not within ``START`` seconds.
    """
    _until(url + "/health/ready", time.perf_counter())


@contextmanager
def _plain(checkpoint: Path) -> Iterator[Served]:
    port = _free_port()
    command = [sys.executable, "-m", "safelight.bench.plain_server", str(checkpoint), str(port)]
    with _running(command, dict(os.environ), port, Path(os.devnull)) as served:
        yield served


@contextmanager
def _running(command: list[str], environment: dict[str, str], port: int, log: Path) -> Iterator[Served]:
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stderr=errors, stdin=subprocess.DEVNULL)  # noqa: S603
    try:
        yield Served(process, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _until(url: str, started: float) -> float:
    """Seconds from a start to the first good answer."""
    while time.perf_counter() - started < START:
        try:
            if httpx2.get(url, timeout=5).status_code == 200:
                return time.perf_counter() - started
        except httpx2.TransportError:
            pass
        time.sleep(0.02)
    raise InternalError(f"{url} did not answer within {START:g} seconds.")


def _drawing(url: str, steps: int) -> Callable[[int], None]:
    def draw(seed: int) -> None:
        body = {"prompt": PROMPT, "seed": seed, "steps": steps, "width": 128, "height": 128}
        httpx2.post(url + "/sdapi/v1/txt2img", json=body, timeout=600).raise_for_status()

    return draw


def _plain_drawing(url: str, steps: int) -> Callable[[int], None]:
    def draw(seed: int) -> None:
        body = {"prompt": PROMPT, "seed": seed, "steps": steps}
        httpx2.post(url + "/draw", json=body, timeout=600).raise_for_status()

    return draw


def _first_step(url: str, steps: int, seed: int) -> float:
    """Seconds from submitting to the news of the first step."""
    body = {"kind": "generate", "prompt": PROMPT, "seed": seed, "steps": steps}
    started = time.perf_counter()
    job = httpx2.post(url + "/v1/jobs", json=body, timeout=60).raise_for_status().json()
    found = None
    with httpx2.stream("GET", f"{url}/v1/jobs/{job['id']}/events", timeout=600) as lines:
        for line in lines.iter_lines():
            if found is None and line.startswith("data:") and _stepped(json.loads(line[5:])):
                found = time.perf_counter() - started
    if found is None:
        raise InternalError("The job ended without news of a step.")
    return found


def _stepped(event: dict[str, Any]) -> bool:
    return bool(event.get("data", {}).get("step"))


def _rate(draw: Callable[[int], None], clients: int, seconds: float) -> float:
    """Pictures a second; those that are on their way at the end count up to then, since all are waited for."""
    started = time.perf_counter()

    def client(number: int) -> int:
        done = 0
        while time.perf_counter() - started < seconds:
            draw(1000 * number + done)
            done += 1
        return done

    with ThreadPoolExecutor(clients) as pool:
        total = sum(pool.map(client, range(clients)))
    return total / (time.perf_counter() - started)


def _latencies(
    ours: str,
    draw_ours: Callable[[int], None],
    plain: str,
    draw_plain: Callable[[int], None],
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
            _latency("GET /v1/jobs/{id}", look, draw_ours, seconds),
            _latency("POST /v1/moderate", judge, draw_ours, seconds),
            _latency("plain server: GET /alive", alive, draw_plain, seconds),
        ]


def _latency(name: str, ask: Callable[[], None], draw: Callable[[int], None], seconds: float) -> Latency:
    """Ask every 20 ms while four clients keep the server drawing."""
    drawing = threading.Thread(target=_rate, args=(draw, 4, seconds))
    drawing.start()
    time.sleep(min(1.0, seconds / 4))
    times = []
    while drawing.is_alive():
        started = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - started))
        time.sleep(0.02)
    drawing.join()
    ranked = sorted(times)
    return Latency(name, statistics.median(ranked), ranked[int(0.99 * (len(ranked) - 1))], len(ranked))


def _soak(served: Served, draw: Callable[[int], None], seconds: float, tell: Callable[[str], None]) -> Soak:
    tell(f"{seconds:g} seconds under load …")
    rates: list[float] = []
    drawing = threading.Thread(target=lambda: rates.append(_rate(draw, 2, seconds)))
    drawing.start()
    samples = []
    while drawing.is_alive():
        samples.append((served.megabytes("api"), served.megabytes("worker")))
        time.sleep(min(5.0, seconds / 50))
    drawing.join()
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]
    means = [statistics.mean(sample[part] for sample in span) for part in (0, 1) for span in (early, late)]
    return Soak(seconds, round(rates[0] * seconds), *means)
