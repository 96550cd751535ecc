"""Shared fixtures: a data directory for each test, no network, and the parts that take seconds to load."""

from __future__ import annotations

import inspect
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.hypothesis_profiles import register_profiles
from tests.memory import MemoryLimiter, exclude_imports  # imported early: it turns garbage collection off
from tests.parallel import mark_fast, put_longest_first, shared_folder
from tests.postgres import database_settings, postgres, postgres_url  # noqa: F401  fixtures that many tests use

from safelight.moderation import load_classifier
from safelight.moderation.classifiers.classifier import NetworkClassifier
from safelight.moderation.classifiers.probe_images import probe_images
from safelight.samples import sample_photographs
from safelight.settings import Settings

if TYPE_CHECKING:
    from tests.fake_cuda import FakeCuda

register_profiles()
os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Read by OpenMP when torch is loaded. Test processes keep all cores busy already, and most networks in tests are so
small that a second thread costs more than it computes."""
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Where it is set, each of the many processes that tests start would compile all modules of Safelight anew."""


memory_limiter = MemoryLimiter()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        exclude_imports()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        memory_limiter.free_garbage()


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    put_longest_first(items, Path(__file__).parent)
    mark_fast(items)


@pytest.hookimpl(trylast=True)  # behind the progress characters
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name each failed test at once: a run that is ended from outside prints no summary."""
    if report.outcome in ("failed", "rerun") and "PYTEST_XDIST_WORKER" not in os.environ:
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = crash.message.partition("\n")[0] if crash else report.longreprtext.rpartition("\n")[2]
        print(f"\n{report.nodeid} ({report.when}): {reason}", flush=True)  # noqa: T201


def refuse_network(log: str) -> None:
    """Refuse every connection beyond this machine and write it to a file; also installed in child processes."""
    import socket
    from pathlib import Path

    connect, look_up = socket.socket.connect, socket.getaddrinfo
    local = ("127.0.0.1", "::1", "localhost", None, "")

    def refuse(where: object) -> None:
        with Path(log).open("a") as file:
            file.write(f"{where!r}\n")
        raise OSError(f"tests have no network: {where!r}")

    def guarded_connect(self: socket.socket, address: object) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in local:
            refuse(address)
        connect(self, address)

    def guarded_look_up(host: object, *args: object, **kwargs: object) -> object:
        if host not in local:
            refuse(host)
        return look_up(host, *args, **kwargs)

    socket.socket.connect = guarded_connect
    socket.getaddrinfo = guarded_look_up


@pytest.fixture(scope="session", autouse=True)
def network_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ignore the user's settings and refuse the network; each refused connection is a line in this file."""
    folder = tmp_path_factory.mktemp("offline")
    log = folder / "attempts.txt"
    log.touch()
    source = inspect.getsource(refuse_network)
    install = f"import os\nrefuse_network(os.environ.get('NETWORK_LOG', {str(log)!r}))\n"
    (folder / "sitecustomize.py").write_text(f"{source}\n\n{install}")
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("SAFELIGHT_", "HF_HUB_OFFLINE"))]:
            patch.delenv(name)
        patch.setenv("SAFELIGHT_HOME", str(tmp_path_factory.mktemp("unused-home")))
        patch.setenv("SAFELIGHT_HASH_MODELS", "false")  # digests that appear at some time make lists differ
        # Tests that are not about compiled forms compare pictures bit by bit; compiling takes both cores for seconds.
        patch.setenv("SAFELIGHT_GENERATION_BACKEND", "eager")
        patch.setenv("SAFELIGHT_WEB_UI", "false")  # Gradio takes seconds to load; tests/ui turns it on
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.setattr(socket.socket, "connect", socket.socket.connect)
        patch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
        refuse_network(str(log))
        yield log


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Make Ctrl-C work here and in child processes, even where the tests run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory; its cache lasts for the session and is shared by all test processes."""
    home = tmp_path_factory.mktemp("home")
    cache = shared_folder(tmp_path_factory) / "cache"
    cache.mkdir(exist_ok=True)
    (home / "cache").symlink_to(cache)
    return home


@pytest.fixture(scope="session")
def settings(home: Path) -> Settings:
    """Settings of the fast path without a backend probe."""
    return Settings(home=home, backend="onnxruntime", precision="fp32")


@pytest.fixture(scope="session")
def exact_settings(home: Path) -> Settings:
    return Settings(home=home, exact=True)


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    found = sample_photographs()
    assert [path.stem for path in found] == ["astronaut", "cat", "coffee", "galaxies", "rocket"]
    return found


@pytest.fixture
def few_probe_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a probe time its candidates on 3 images instead of 23."""
    monkeypatch.setattr(
        "safelight.moderation.classifiers.definition.probe_images", lambda: probe_images()[:3]
    )


@pytest.fixture(scope="session")
def open_nsfw(settings: Settings) -> NetworkClassifier:
    return load_classifier(settings, "open-nsfw")


@pytest.fixture(scope="session")
def open_nsfw_exact(exact_settings: Settings) -> NetworkClassifier:
    return load_classifier(exact_settings, "open-nsfw")


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    """A CUDA device of 24 GB that is not there: ``tests/fake_cuda.py``."""
    from tests.fake_cuda import fake_cuda  # which imports torch

    with fake_cuda() as found:
        yield found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint by name, built once for all test processes; read-only."""
    from tests.tiny import build_tiny  # which imports every inference engine

    exclude_imports()
    root = shared_folder(tmp_path_factory) / "tiny"

    def folder(name: str) -> Path:
        if not (root / name).exists():
            begun = build_tiny(name, tmp_path_factory.mktemp("building") / name)
            root.mkdir(exist_ok=True)
            with suppress(OSError):  # another process was first; the same seed gives the same files
                begun.rename(root / name)
        assert (root / name).exists()
        return root / name

    return folder
