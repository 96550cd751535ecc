"""Pulls from the hub and from CivitAI, by a server on this machine that answers as they do."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from tests.models.hub.fake_source import COMMIT, FakeSource, names, run_fake_source

from safelight.errors import (
    CheckpointMissingError,
    DigestMismatchError,
    DownloadDeniedError,
    DownloadError,
    DownloadMissingError,
    DownloadStoppedError,
    ModelReferenceError,
    OutputExistsError,
    PickleRefusedError,
    SafelightError,
    SettingsError,
)
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.digests import cached_digest
from safelight.models.hub.checkpoint_download import hub_lookup
from safelight.models.hub.hub_repository import plan_hub_pull
from safelight.models.hub.pull import Pulled, plan_pull, pull, source_of
from safelight.models.hub.pull_plan import PullPlan
from safelight.models.hub.references import CivitaiReference, HubReference, parse_reference
from safelight.models.inventory.weights_file import describe_weights_file
from safelight.settings import Settings

LORA = save({"lora_unet_x_attn2_to_k.lora_down.weight": torch.zeros(4, 2048)})
VAE = save(
    {"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3), "encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}
)


@pytest.fixture
def server() -> Iterator[FakeSource]:
    with run_fake_source() as source:
        yield source


@pytest.fixture
def settings(server: FakeSource, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", hub_url=server.url, civitai_url=server.url)


@pytest.fixture
def folder_files(tiny: Callable[[str], Path]) -> dict[str, bytes]:
    """The files of a small Stable Diffusion checkpoint, and others that a repository has beside them."""
    root = tiny("sd1")
    files = {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    return files | {"README.md": b"# mine", "unet/diffusion_pytorch_model.fp16.safetensors": b"half"}


def plan(text: str, settings: Settings, file: str | None = None, token_file: Path | None = None) -> PullPlan:
    reference = parse_reference(text, file)
    found = plan_pull(reference, source_of(reference, settings, token_file))
    assert found is not None
    return found


def fetch(text: str, settings: Settings, file: str | None = None) -> Pulled:
    return pull(plan(text, settings, file), settings)


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubReference("owner/name")),
        ("owner/name@v1.0", HubReference("owner/name", "v1.0")),
        ("owner/name@refs/pr/3", HubReference("owner/name", "refs/pr/3")),
        ("https://huggingface.co/owner/name", HubReference("owner/name")),
        (
            "https://huggingface.co/o/n/blob/main/a/b.safetensors",
            HubReference("o/n", "main", "a/b.safetensors"),
        ),
        ("civitai:7", CivitaiReference(7)),
        ("civitai:7@21", CivitaiReference(7, 21)),
        ("urn:air:sdxl:checkpoint:civitai:101055@128078", CivitaiReference(101055, 128078)),
        ("air:flux1:lora:civitai:7@21+3", CivitaiReference(7, 21)),
        ("https://civitai.com/models/7/ink?modelVersionId=21", CivitaiReference(7, 21)),
        ("https://civitai.com/models/7", CivitaiReference(7)),
        ("https://civitai.com/api/download/models/21", CivitaiReference(None, 21)),
    ],
)
def test_references(text: str, expected: object) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "../name",
        "a/b/c",
        "civitai:",
        "civitai:x",
        "https://example.org/models/7",
        "owner/name@../../x y",
    ],
)
def test_texts_that_name_nothing(text: str) -> None:
    with pytest.raises(ModelReferenceError):
        parse_reference(text)


def test_a_repository_becomes_a_checkpoint_of_the_data_directory(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes]
) -> None:
    server.add_repository("owner/painter", folder_files)
    offer = plan("owner/painter", settings)
    assert (offer.reference, offer.licence, offer.name) == (
        f"owner/painter@{COMMIT}",
        "openrail++",
        "owner/painter",
    )
    wanted = [file.name for file in offer.files]
    assert wanted[-1] == "model_index.json"
    assert not {"README.md", "unet/diffusion_pytorch_model.fp16.safetensors"} & set(wanted)
    assert offer.size == sum(len(folder_files[name]) for name in wanted)
    assert not settings.home.exists()
    progress: list[int] = []
    done = pull(offer, settings, on_progress=progress.append)
    assert (done.kind, done.family, done.remarks) == ("checkpoint", "sd1", ())
    assert progress[-1] == offer.size
    assert files_of(done.path) == sorted([*wanted, ".safelight.json"])
    assert done.files == {name: hashlib.sha256(folder_files[name]).hexdigest() for name in wanted}
    found = find_checkpoint("owner/painter", settings.home)
    assert found.path == done.path
    assert found.cached_digest(settings.cache_folder) is not None
    assert names(settings.home / "checkpoints") == ["owner"]
    asked = len(server.received)
    assert fetch("owner/painter@v1.0", settings).present
    assert len(server.received) == asked + 1


def test_a_folder_that_was_cut_off_continues_with_the_file(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes]
) -> None:
    server.add_repository("owner/painter", folder_files)
    offer = plan("owner/painter", settings)
    weights = next(file for file in offer.files if file.name.startswith("unet/diffusion"))
    done: list[int] = []
    with pytest.raises(DownloadStoppedError):
        pull(
            offer,
            settings,
            on_progress=done.append,
            should_stop=lambda: bool(done) and done[-1] > offer.size // 2,
        )
    with pytest.raises(CheckpointMissingError):
        find_checkpoint("owner/painter", settings.home)
    before = len(server.received)
    assert pull(offer, settings).family == "sd1"
    again = [each.path for each in server.received[before:]]
    assert 0 < len(again) < len(offer.files)
    assert weights.sha256


def test_a_new_revision_replaces_the_old_one(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes]
) -> None:
    server.add_repository("owner/painter", folder_files)
    fetch("owner/painter", settings)
    newer = folder_files | {
        "scheduler/scheduler_config.json": folder_files["scheduler/scheduler_config.json"] + b"\n"
    }
    server.add_repository("owner/painter", newer, sha="f" * 40)
    for path in list(server.files) + list(server.redirects):
        for paths in (server.files, server.redirects):
            if path in paths:
                paths[path.replace(COMMIT, "f" * 40)] = paths[path]
    done = fetch("owner/painter", settings)
    assert done.reference.endswith("f" * 40)
    assert (done.path / "scheduler" / "scheduler_config.json").read_bytes() == newer[
        "scheduler/scheduler_config.json"
    ]
    assert names(settings.home / "checkpoints" / "owner") == ["painter"]


def test_a_folder_of_somebody_else_is_not_replaced(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes]
) -> None:
    server.add_repository("owner/painter", folder_files)
    mine = settings.home / "checkpoints" / "owner" / "painter"
    mine.mkdir(parents=True)
    (mine / "mine.txt").touch()
    with pytest.raises(OutputExistsError):
        fetch("owner/painter", settings)
    assert files_of(mine) == ["mine.txt"]


def test_a_lie_about_a_digest_leaves_no_checkpoint(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes]
) -> None:
    server.add_repository("owner/painter", folder_files)
    path = f"/owner/painter/resolve/{COMMIT}/scheduler/scheduler_config.json"
    server.files[path] = server.files[path].replace(b"{", b"[", 1)
    with pytest.raises(DigestMismatchError, match=r"scheduler_config\.json is not the file"):
        fetch("owner/painter", settings)
    with pytest.raises(CheckpointMissingError):
        find_checkpoint("owner/painter", settings.home)


def test_files_that_the_hubs_libraries_have_are_not_downloaded(
    server: FakeSource,
    settings: Settings,
    folder_files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    server.add_repository("owner/painter", folder_files)
    cached = tmp_path / "hub" / "models--owner--painter" / "snapshots" / COMMIT
    for name, data in folder_files.items():
        (cached / name).parent.mkdir(parents=True, exist_ok=True)
        (cached / name).write_bytes(data)
    reference = HubReference("owner/painter")
    offer = plan_hub_pull(reference, source_of(reference, settings), tmp_path / "hub")
    assert offer is not None
    pull(offer, settings)
    assert not [each for each in server.received if each.path.startswith("/cdn/")]
    assert find_checkpoint("owner/painter", settings.home).family.key == "sd1"


def test_small_files_without_a_sha256_are_recognized(server: FakeSource, settings: Settings) -> None:
    server.add_repository("owner/small", {"x.safetensors": LORA})
    (sibling,) = server.documents["/api/models/owner/small"]["siblings"]
    del sibling["lfs"]
    assert not fetch("owner/small", settings).present
    assert fetch("owner/small", settings).present


def test_a_part_in_the_hubs_cache_is_pulled_whole(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes], tmp_path: Path
) -> None:
    server.add_repository("owner/painter", folder_files)
    snapshot = tmp_path / "hub" / "models--owner--painter" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_bytes(folder_files["model_index.json"])
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    online = settings.model_copy(update={"allow_network": True})
    lookup = hub_lookup(online, cache=tmp_path / "hub")
    assert find_checkpoint("owner/painter", settings.home, hub_lookup=lookup).family.key == "sd1"


def test_allow_network_pulls_what_is_not_on_this_machine(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes], tmp_path: Path
) -> None:
    server.add_repository("owner/painter", folder_files)
    server.add_repository("owner/other", {"style.safetensors": LORA})
    lookup = hub_lookup(settings, cache=tmp_path / "none")
    with pytest.raises(CheckpointMissingError):
        find_checkpoint("owner/painter", settings.home, hub_lookup=lookup)
    assert server.received == []
    lookup = hub_lookup(settings.model_copy(update={"allow_network": True}), cache=tmp_path / "none")
    assert find_checkpoint("owner/painter", settings.home, hub_lookup=lookup).family.key == "sd1"
    with pytest.raises(CheckpointMissingError, match="holds no diffusers checkpoint"):
        find_checkpoint("owner/other", settings.home, hub_lookup=lookup)


def test_one_file_of_a_repository_lands_where_its_kind_belongs(
    server: FakeSource, settings: Settings
) -> None:
    files = {"README.md": b"#", "loras/style.safetensors": LORA, "vae.safetensors": VAE}
    server.add_repository("owner/parts", files)
    with pytest.raises(ModelReferenceError, match="2 files of weights") as caught:
        plan("owner/parts", settings)
    assert "loras/style.safetensors" in caught.value.hint
    done = fetch("owner/parts", settings, "loras/style.safetensors")
    assert (done.path, done.kind, done.family) == (
        settings.home / "loras" / "style.safetensors",
        "LoRA",
        "sdxl",
    )
    assert cached_digest(done.path, settings.cache_folder) == hashlib.sha256(LORA).hexdigest()
    assert fetch("owner/parts", settings, "vae.safetensors").path == settings.home / "vae" / "vae.safetensors"
    assert fetch("owner/parts", settings, "style.safetensors").present
    assert files_of(settings.home / "checkpoints") == []
    done.path.write_bytes(VAE)
    with pytest.raises(OutputExistsError):
        fetch("owner/parts", settings, "style.safetensors")
    assert done.path.read_bytes() == VAE


def test_a_name_that_is_taken_is_found_before_the_download(server: FakeSource, settings: Settings) -> None:
    server.add_repository("owner/parts", {"style.safetensors": LORA})
    mine = settings.home / "loras" / "style.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(VAE)
    offer = plan("owner/parts", settings)
    server.received.clear()
    with pytest.raises(OutputExistsError):  # the hub does not say that it is a LoRA
        pull(offer, settings)
    assert server.received == []


def test_a_name_that_is_taken_meanwhile_does_not_lose_the_file(
    server: FakeSource, settings: Settings
) -> None:
    server.add_repository("owner/parts", {"style.safetensors": LORA})
    mine = settings.home / "loras" / "style.safetensors"

    def take() -> None:
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(VAE)

    server.faults[f"/cdn/{hashlib.sha256(LORA).hexdigest()}"] = ["cut"]
    server.on_half = take
    done = fetch("owner/parts", settings)
    assert (done.path.name, done.path.read_bytes(), mine.read_bytes()) == ("style (2).safetensors", LORA, VAE)
    assert "this one is called style (2).safetensors" in done.remarks[0]
    assert done.name == "style (2)"
    assert cached_digest(done.path, settings.cache_folder) == hashlib.sha256(LORA).hexdigest()
    again = fetch("owner/parts", settings)
    assert (again.path, again.present) == (done.path, True)


def test_files_of_sizes_that_the_source_does_not_state(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes]
) -> None:
    server.add_repository("owner/parts", {"style.safetensors": LORA})
    server.add_repository("owner/painter", folder_files)
    for repository in ("parts", "painter"):
        for sibling in server.documents[f"/api/models/owner/{repository}"]["siblings"]:
            del sibling["size"]
    assert plan("owner/parts", settings).files[0].size is None
    for repository in ("owner/parts", "owner/painter"):
        assert not fetch(repository, settings).present
        server.received.clear()
        assert fetch(repository, settings).present
        assert {each.path.split("/")[1] for each in server.received} == {"api"}


def test_of_two_that_pull_a_checkpoint_at_once_one_downloads(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes], tmp_path: Path
) -> None:
    """As two workers do that get the first jobs for it."""
    server.add_repository("owner/painter", folder_files)
    unet = folder_files["unet/diffusion_pytorch_model.safetensors"]
    server.faults[f"/cdn/{hashlib.sha256(unet).hexdigest()}"] = ["cut"]
    half = threading.Event()
    go_on = threading.Event()
    server.on_half = lambda: half.set() or go_on.wait(10)  # type: ignore[func-returns-value]
    online = settings.model_copy(update={"allow_network": True})
    stopped = threading.Event()

    def find(should_stop: Callable[[], bool] = lambda: False) -> Path:
        lookup = hub_lookup(online, cache=tmp_path / "none", should_stop=should_stop)
        return find_checkpoint("owner/painter", settings.home, hub_lookup=lookup).path

    with ThreadPoolExecutor() as threads:
        first = threads.submit(find)
        assert half.wait(10)
        with pytest.raises(DownloadStoppedError):
            find(lambda: True)
        second = threads.submit(find, stopped.is_set)
        with pytest.raises(FutureTimeoutError):
            second.result(0.1)  # it waits
        go_on.set()
        assert first.result(20) == second.result(20)
    wanted = [each.path for each in server.received if each.path.startswith("/cdn/")]
    assert wanted.count(f"/cdn/{hashlib.sha256(unet).hexdigest()}") == 2  # the cut one, and what it lacked
    assert len(wanted) == len(set(wanted)) + 1


def test_a_description_that_is_none_is_an_error(server: FakeSource, settings: Settings) -> None:
    server.add_repository("owner/parts", {"style.safetensors": LORA})
    document = server.documents["/api/models/owner/parts"]
    for broken in (
        {"siblings": [{"rfilename": "a", "lfs": {"sha256": "f"}}]},
        {"siblings": [3]},
        {"siblings": 3},
    ):
        server.documents["/api/models/owner/parts"] = document | broken
        with pytest.raises(DownloadError, match="does not tell of"):
            plan("owner/parts", settings)


@pytest.mark.parametrize("data", [b"<html>", b"\x08\0\0\0\0\0\0\0notjson!", b""])
def test_what_is_no_weights_is_not_kept(server: FakeSource, settings: Settings, data: bytes) -> None:
    server.add_repository("owner/parts", {"x.safetensors": data})
    with pytest.raises(DigestMismatchError, match="is no file of weights"):
        fetch("owner/parts", settings)
    assert files_of(settings.home / "checkpoints") == []
    server.add_repository("owner/parts", {"x.gguf": data})
    with pytest.raises(DigestMismatchError, match="is no file of weights"):
        fetch("owner/parts", settings)
    assert files_of(settings.home / "checkpoints") == []


def test_pickles_are_named_with_the_command_that_converts_them(
    server: FakeSource, settings: Settings, folder_files: dict[str, bytes]
) -> None:
    server.add_repository("owner/old", {"model.ckpt": b"x"})
    unet = "unet/diffusion_pytorch_model.safetensors"
    pickled = {name: data for name, data in folder_files.items() if not name.startswith("unet/diff")}
    server.add_repository("owner/half", pickled | {"unet/diffusion_pytorch_model.bin": b"x"})
    half = {name: data for name, data in folder_files.items() if name != unet}
    server.add_repository("owner/fp16", half)
    for reference, file in (("owner/old", None), ("owner/old", "model.ckpt"), ("owner/half", None)):
        with pytest.raises(PickleRefusedError) as caught:
            plan(reference, settings, file)
        assert "safelight models convert" in caught.value.hint
    wanted = [file.name for file in plan("owner/fp16", settings).files]
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in wanted


@pytest.mark.parametrize(
    "name", ["../../evil.safetensors", "/etc/evil.safetensors", "a/.ssh/evil.safetensors"]
)
def test_file_names_cannot_lead_out_of_the_folder(server: FakeSource, settings: Settings, name: str) -> None:
    server.add_repository("owner/evil", {name: LORA})
    with pytest.raises(DownloadError, match="which is not written"):
        plan("owner/evil", settings)


def test_errors_of_the_hub(server: FakeSource, settings: Settings) -> None:
    with pytest.raises(DownloadMissingError, match="has no model owner/none, or shows it only with a token"):
        plan("owner/none", settings)
    for status, error in ((401, DownloadDeniedError), (403, DownloadDeniedError), (429, DownloadError)):
        server.faults["/api/models/owner/gone"] = [status] * 9
        server.retry_after = "1"
        with pytest.raises(error):
            plan("owner/gone", settings)
        server.faults.clear()
    server.add_repository("owner/parts", {"x.safetensors": LORA})
    with pytest.raises(DownloadMissingError, match=r"has no file 'y\.safetensors'"):
        plan("owner/parts", settings, "y.safetensors")


def test_a_token_from_a_file_is_sent_to_its_source_only(
    server: FakeSource, settings: Settings, tmp_path: Path
) -> None:
    server.add_repository("owner/parts", {"x.safetensors": LORA}, gated="auto")
    server.tokens = {"hub-word"}
    token = tmp_path / "token"
    token.write_text("hub-word\n")
    token.chmod(0o600)
    with pytest.raises(DownloadError):
        plan("owner/parts", settings)
    mine = settings.model_copy(update={"hub_token_file": token})
    offer = plan("owner/parts", mine)
    assert offer.gated
    pull(offer, mine)
    sent = {each.host: each.headers.get("Authorization") for each in server.received}
    assert sent == {"127.0.0.1": "Bearer hub-word", "localhost": None}
    assert "hub-word" not in repr(offer) + repr(mine) + json.dumps(offer.to_dict())
    assert source_of(CivitaiReference(7), mine).token is None
    assert source_of(CivitaiReference(7), settings, token).token == "hub-word"


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("word", 0o644, "Others can read"),
        ("word", 0o620, "Others can read"),
        ("", 0o600, "holds no token"),
        ("two words", 0o600, "holds no token"),
        ("wörd", 0o600, "it is no text"),
    ],
)
def test_token_files_that_are_refused(
    settings: Settings, tmp_path: Path, text: str, mode: int, message: str
) -> None:
    token = tmp_path / "token"
    token.write_text(text)
    token.chmod(mode)
    with pytest.raises(SettingsError, match=message) as caught:
        source_of(HubReference("o/n"), settings, token)
    assert not text or text not in caught.value.message
    with pytest.raises(SettingsError, match="cannot be read"):
        source_of(HubReference("o/n"), settings, tmp_path / "none")


def test_civitai(server: FakeSource, settings: Settings) -> None:
    server.add_civitai("Ink: wash?.safetensors", LORA)
    offer = plan("civitai:7", settings)
    assert offer.reference == "civitai:7@21"
    assert (offer.title, offer.kind, offer.size) == ("Ink, v2", "LoRA", len(LORA))
    assert offer.licence == (
        "base model SDXL 1.0; credit needed; commercial use: Image; derivatives allowed; "
        "other terms for derivatives not allowed"
    )
    done = pull(offer, settings)
    assert done.path == settings.home / "loras" / "Ink_ wash_.safetensors"
    assert (done.family, done.remarks) == ("sdxl", ())
    notes = json.loads(done.path.with_suffix(".json").read_text())
    assert notes["activation text"] == "ink wash"
    assert notes["sd version"] == "SDXL"
    assert "Preview: a boat, ink wash" in notes["notes"]
    assert describe_weights_file(done.path).trigger_words == ("ink wash",)
    assert {each.host for each in server.received if each.path == "/cdn/ink"} == {"localhost"}
    assert fetch("https://civitai.com/api/download/models/21", settings).present


def test_civitais_words_are_checked_against_the_content(server: FakeSource, settings: Settings) -> None:
    server.add_civitai("ink.safetensors", VAE, "Checkpoint")
    done = fetch("civitai:7@21", settings)
    assert done.path == settings.home / "vae" / "ink.safetensors"
    assert done.remarks == ("The source calls it a checkpoint; by its content it is an autoencoder.",)
    notes = done.path.with_suffix(".json")
    notes.write_text('{"activation text": "mine"}')
    done.path.unlink()
    assert "stays as it is" in fetch("civitai:7@21", settings).remarks[-1]
    assert "mine" in notes.read_text()


def test_errors_of_civitai(server: FakeSource, settings: Settings) -> None:
    with pytest.raises(DownloadMissingError):
        plan("civitai:8", settings)
    server.add_civitai("ink.safetensors", LORA)
    with pytest.raises(DownloadMissingError, match="no version 99"):
        plan("civitai:7@99", settings)
    server.add_civitai("ink.safetensors", LORA, "Workflows")
    with pytest.raises(DownloadError, match="is a Workflows on CivitAI, which Safelight has no use for"):
        plan("civitai:7", settings)
    server.add_civitai("ink.pt", LORA, "TextualInversion")
    with pytest.raises(PickleRefusedError):
        plan("civitai:7", settings)
    server.add_civitai("ink.safetensors", LORA, hashes={})
    with pytest.raises(DownloadError, match="states no SHA-256"):
        plan("civitai:7", settings)
    server.add_civitai("ink.safetensors", LORA, sizeKB=1)
    with pytest.raises(DigestMismatchError, match="bytes, not 1024"):
        fetch("civitai:7", settings) if len(LORA) > 2048 + 1024 else pull(
            plan("civitai:7", settings), settings
        )
    server.add_civitai("ink.safetensors", LORA)
    server.faults["/api/download/models/21"] = ["html"]
    with pytest.raises(DownloadError, match="sends a web page"):
        fetch("civitai:7", settings)
    server.faults["/api/v1/models/7"] = ["html"]
    with pytest.raises(DownloadError, match="does not answer with JSON"):
        plan("civitai:7", settings)
    assert not (settings.home / "loras" / "ink.safetensors").exists()


@pytest.mark.parametrize(
    "answer", [[], {"name": "x"}, {"modelVersions": [3]}, {"modelVersions": [{"files": "x"}]}]
)
def test_answers_that_are_not_understood(server: FakeSource, settings: Settings, answer: object) -> None:
    server.documents["/api/v1/models/7"] = answer
    with pytest.raises(SafelightError):
        plan("civitai:7", settings)


def test_what_an_abandoned_pull_left_is_deleted_after_a_week(server: FakeSource, settings: Settings) -> None:
    server.add_repository("owner/parts", {"x.safetensors": LORA})
    staging = settings.home / "checkpoints" / ".downloads"
    (staging / "old").mkdir(parents=True)
    (staging / "old" / "x.part").touch()
    (staging / "new.part").touch()
    for path in (staging / "old" / "x.part", staging / "old"):
        os.utime(path, (1, 1))
    fetch("owner/parts", settings)
    assert names(staging) == ["new.part"]
