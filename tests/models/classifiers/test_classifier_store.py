from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from tests.hypothesis_profiles import example_count

from safelight.errors import (
    ClassifierUnknownError,
    DigestMismatchError,
    DownloadError,
    ModelInvalidError,
    ModelNotPulledError,
)
from safelight.models.classifiers import classifier_store as store_module
from safelight.models.classifiers.classifier_store import (
    PINNED_SOURCES,
    ClassifierStore,
    ModelRecord,
    ModelSource,
    expected_digests,
)

MARQO = "nsfw-image-detection-384"


@pytest.fixture
def store(tmp_path: Path) -> ClassifierStore:
    return ClassifierStore(tmp_path / "deep" / "models")


class Hub:
    """A fake hub that writes a source's files, each with the same content."""

    def __init__(self, content: bytes = b"weights", *, fail_after: int | None = None) -> None:
        self.content = content
        self.fail_after = fail_after
        self.asked: list[ModelSource] = []
        self.folders: list[Path] = []

    def __call__(self, source: ModelSource, folder: Path) -> str:
        self.asked.append(source)
        self.folders.append(folder)
        for number, file in enumerate(source.files):
            if number == self.fail_after:
                raise DownloadError("The connection broke.")
            (folder / file).write_bytes(self.content)
        return "c" * 40


def all_paths(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_pull_leaves_a_folder_and_a_record(store: ClassifierStore) -> None:
    hub = Hub()
    record = store.pull("owner/name", hub)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert record == replace(
        ModelRecord("owner/name", "owner/name", "c" * 40, {}, 14, record.pulled),
        files={"config.json": digest, "model.safetensors": digest},
    )
    age = datetime.now(UTC) - datetime.fromisoformat(record.pulled)
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert store.record("owner/name") == record
    assert store.records() == [record]
    assert store.folder("owner/name") == store.root / "owner--name"
    assert (store.folder("owner/name") / "model.safetensors").read_bytes() == b"weights"
    json.dumps(record.to_dict())


def test_a_hub_id_means_its_latest_commit(store: ClassifierStore) -> None:
    hub = Hub()
    store.pull("owner/name", hub)
    assert hub.asked == [ModelSource("owner/name", None, {"config.json": "", "model.safetensors": ""})]


def test_a_built_in_name_means_a_pinned_commit_and_pinned_files() -> None:
    source = PINNED_SOURCES[MARQO]
    assert source.repository == "Marqo/nsfw-image-detection-384"
    assert re.fullmatch(r"[0-9a-f]{40}", source.revision or "")
    assert set(source.files) == {"config.json", "model.safetensors"}
    for digest in source.files.values():
        assert re.fullmatch(r"[0-9a-f]{64}", digest)


@pytest.mark.parametrize("forged", ["config.json", "model.safetensors"])
def test_files_that_differ_from_the_pinned_ones_are_removed(
    store: ClassifierStore, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    """The configuration as well as the weights: it says which output is the unsafe one."""
    real, found = hashlib.sha256(b"real").hexdigest(), hashlib.sha256(b"forged").hexdigest()
    pinned = ModelSource("Marqo/x", "d" * 40, {"config.json": real, "model.safetensors": real})
    monkeypatch.setattr(store_module, "PINNED_SOURCES", MappingProxyType({MARQO: pinned}))

    def fetch(source: ModelSource, folder: Path) -> str:
        revision = Hub(b"real")(source, folder)
        (folder / forged).write_bytes(b"forged")
        return revision

    with pytest.raises(DigestMismatchError) as caught:
        store.pull(MARQO, fetch)
    assert caught.value.message == f"{forged} of Marqo/x has SHA-256 {found}, not {real}."
    assert list(store.root.iterdir()) == []
    assert store.records() == []
    assert not store.has(MARQO)


def test_the_pinned_weights_are_accepted(store: ClassifierStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"the real ones").hexdigest()
    pinned = ModelSource("Marqo/x", "d" * 40, {"config.json": "", "model.safetensors": digest})
    monkeypatch.setattr(store_module, "PINNED_SOURCES", MappingProxyType({MARQO: pinned}))
    hub = Hub(b"the real ones")
    record = store.pull(MARQO, hub)
    assert hub.asked == [pinned]
    assert (record.name, record.repository) == (MARQO, "Marqo/x")
    assert store.has(MARQO)


def test_the_required_files_of_a_pulled_model(
    store: ClassifierStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.pull("owner/name", Hub())
    assert expected_digests(store.folder("owner/name")) == record.files
    assert expected_digests(store.root) == {}, "what was not pulled may be anything"
    monkeypatch.setattr(
        store_module,
        "PINNED_SOURCES",
        MappingProxyType({"owner/name": ModelSource("owner/name", "d" * 40, {"config.json": "e" * 64})}),
    )
    assert expected_digests(store.folder("owner/name")) == record.files | {"config.json": "e" * 64}, (
        "pins stand, whatever the record says"
    )


def test_files_are_downloaded_elsewhere_and_renamed(store: ClassifierStore) -> None:
    seen: list[bool] = []

    def fetch(source: ModelSource, folder: Path) -> str:
        seen.append(store.has("owner/name"))
        seen.append(folder.is_relative_to(store.root))
        return Hub()(source, folder)

    store.pull("owner/name", fetch)
    assert seen == [False, True]
    assert [path.name for path in store.root.iterdir()] == ["owner--name"]


@pytest.mark.parametrize("fail_after", [0, 1])
def test_a_failed_pull_leaves_nothing_behind(store: ClassifierStore, fail_after: int) -> None:
    with pytest.raises(DownloadError):
        store.pull("owner/name", Hub(fail_after=fail_after))
    assert list(store.root.iterdir()) == []


@pytest.mark.parametrize("fail_after", [0, 1])
def test_a_failed_pull_keeps_the_old_version(store: ClassifierStore, fail_after: int) -> None:
    store.pull("owner/name", Hub(b"old"))
    before = all_paths(store.root)
    with pytest.raises(DownloadError):
        store.pull("owner/name", Hub(b"new", fail_after=fail_after))
    assert all_paths(store.root) == before


def test_a_second_pull_replaces_the_first(store: ClassifierStore) -> None:
    store.pull("owner/name", Hub(b"old"))
    (store.folder("owner/name") / "stray").touch()
    store.pull("owner/name", Hub(b"new!"))
    assert set(all_paths(store.root)) == {
        "owner--name/config.json",
        "owner--name/model.safetensors",
        "owner--name/safelight.json",
    }
    assert store.record("owner/name").size == 8


def test_remove(store: ClassifierStore) -> None:
    kept = store.pull("a/b", Hub())
    gone = store.pull("a/c", Hub())
    assert store.remove("a/c") == gone
    assert store.records() == [kept]
    assert not (store.root / "a--c").exists()
    with pytest.raises(ModelNotPulledError):
        store.remove("a/c")


def test_a_model_that_is_not_pulled_names_the_pull_command(store: ClassifierStore) -> None:
    for ask in (store.folder, store.record, store.remove):
        with pytest.raises(ModelNotPulledError) as caught:
            ask(MARQO)
        assert caught.value.message == (
            "The model 'nsfw-image-detection-384' is not on this machine, and nothing is fetched unless you ask."
        )
        assert caught.value.hint.endswith("safelight models pull nsfw-image-detection-384")
    assert not store.root.exists(), "asking makes no folder"


def test_records_are_listed_by_name_and_other_folders_skipped(store: ClassifierStore) -> None:
    assert store.records() == []
    for name in ("b/b", "a/z", "a/a"):
        store.pull(name, Hub())
    (store.root / "empty").mkdir()
    (store.root / "damaged").mkdir()
    (store.root / "damaged" / "safelight.json").write_text("{")
    (store.root / "file").touch()
    assert [record.name for record in store.records()] == ["a/a", "a/z", "b/b"]


UNDIGESTED = b'{"name": "a/b", "repository": "a/b", "revision": "c", "files": 5, "size": 0, "pulled": "x"}'


@pytest.mark.parametrize("damage", [b"{", b"[]", b"5", b"{}", b"\xff", b'{"name": "a/b"}', UNDIGESTED])
def test_a_damaged_record(store: ClassifierStore, damage: bytes) -> None:
    store.pull("a/b", Hub())
    (store.folder("a/b") / "safelight.json").write_bytes(damage)
    with pytest.raises(ModelInvalidError, match=r"^The record of a--b cannot be read: "):
        store.record("a/b")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "..",
        ".",
        "../x",
        "x/..",
        "a/b/c",
        "/etc",
        "/",
        "a/",
        "/a",
        ".hidden/x",
        "a\\b/c",
        "a/.b",
        "../../x",
    ],
)
def test_impossible_pulls(store: ClassifierStore, name: str) -> None:
    hub = Hub()
    with pytest.raises(ClassifierUnknownError) as caught:
        store.pull(name, hub)
    assert caught.value.message == f"{name!r} cannot be pulled."
    assert caught.value.hint == "Give nsfw-image-detection-384, or a hub id like owner/name."
    assert hub.asked == []
    assert not store.root.exists()


NAMES = st.lists(
    st.sampled_from(
        ["a", "b-", "..", ".", "/", "\\", "~", "--", "C:", " ", "\0", "é", "etc", "%2e", "x" * 40]
    ),
    max_size=7,
).map("".join) | st.text(max_size=12)


@given(name=NAMES)
@example("../outside")
@example("a/../../outside")
@example("/tmp/outside")
@example("..\\outside/x")
@budget(
    max_examples=example_count(300),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_name_leads_out_of_the_store(tmp_path: Path, name: str) -> None:
    root = tmp_path / "in" / "models"
    store = ClassifierStore(root)
    outside = tmp_path / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "safelight.json").write_text(json.dumps(ModelRecord("x", "x", "x", {}, 0, "x").to_dict()))
    try:
        store.pull(name, Hub())
    except (ClassifierUnknownError, ValueError, OSError):
        # the hub never gets a name with a zero byte or an unpaired surrogate
        assert not name.isprintable() or name.count("/") != 1 or not ClassifierStore._is_safe_name(name)
    else:
        assert store.folder(name).resolve().parent == root.resolve()
        assert store.remove(name).name == name
    assert not store.has(name)
    with pytest.raises((ModelNotPulledError, ValueError)):
        store.remove(name)
    assert sorted(path.name for path in tmp_path.iterdir()) in (["in", "outside"], ["outside"])
    assert (outside / "safelight.json").is_file()


def test_a_very_long_name_is_not_pulled(store: ClassifierStore) -> None:
    store.pull("a/b", Hub())
    assert not store.has("x" * 300)


def test_different_names_are_different_models(store: ClassifierStore) -> None:
    store.pull("a/b", Hub())
    assert not store.has("a--b")


def test_a_store_that_cannot_be_created(tmp_path: Path) -> None:
    from safelight.errors import SafelightError

    (tmp_path / "models").touch()
    with pytest.raises(SafelightError, match="models"):
        ClassifierStore(tmp_path / "models").pull("a/b", Hub())
