"""Pulls of tokenizers from a hub on this machine, and their use by checkpoints in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.models.hub.fake_source import COMMIT, FakeSource, names, run_fake_source
from tests.tiny.checkpoint_files import write_parts

from safelight.cli.models import _print_plan
from safelight.errors import (
    CheckpointInvalidError,
    DigestMismatchError,
    DownloadMissingError,
    ModelReferenceError,
)
from safelight.models.checkpoints.discovery import find_checkpoint
from safelight.models.checkpoints.layouts import FAMILY_LAYOUTS
from safelight.models.checkpoints.loading import describe_parts
from safelight.models.hub.pull import plan_pull, pull, source_of
from safelight.models.hub.pull_plan import PullPlan
from safelight.models.hub.references import HubReference, parse_reference
from safelight.models.hub.tokenizer_pull import tokenizer_plan
from safelight.models.tokenizers.bundled import BUNDLED_TOKENIZERS
from safelight.models.tokenizers.tokenizer_sources import TOKENIZER_SOURCES
from safelight.settings import Settings

AURAFLOW = TOKENIZER_SOURCES["pile-t5"].repository


@pytest.fixture
def server() -> Iterator[FakeSource]:
    with run_fake_source() as source:
        yield source


@pytest.fixture
def settings(server: FakeSource, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", hub_url=server.url, civitai_url=server.url)


def plan(text: str, settings: Settings) -> PullPlan:
    reference = parse_reference(text)
    found = plan_pull(reference, source_of(reference, settings))
    assert found is not None
    return found


def add(
    server: FakeSource, repository: str, folder: Path, prefix: str = "tokenizer/", **more: object
) -> None:
    files = {f"{prefix}{path.name}": path.read_bytes() for path in folder.iterdir()}
    code = {f"{prefix}tokenization_own.py": b"raise SystemExit", "README.md": b"", "tokenizer.json": b"{}"}
    server.add_repository(repository, code | files, **more)


def test_the_error_names_the_pull_that_mends_it(
    server: FakeSource, settings: Settings, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    write_parts("auraflow", tiny("auraflow"), settings.home / "checkpoints")
    given = settings.home / "checkpoints" / "text_encoders" / "pile_t5xl" / "tokenizer"
    tokenizer = given.rename(tmp_path / "tokenizer")
    before = find_checkpoint("diffusion_models/auraflow", settings.home)
    with pytest.raises(CheckpointInvalidError, match="needs a tokenizer") as caught:
        describe_parts(before)
    command = caught.value.hint.partition("safelight models pull ")[2].partition(" ")[0]
    assert command == "tokenizer:pile-t5"
    add(server, AURAFLOW, tokenizer)
    offer = plan(command, settings)
    assert (offer.name, offer.reference) == ("pile-t5", f"tokenizer:pile-t5@{COMMIT}")
    assert sorted(file.name for file in offer.files) == names(tokenizer)
    done = pull(offer, settings)
    assert done.path == settings.home / "tokenizers" / "pile-t5"
    assert not done.present
    assert pull(plan(command, settings), settings).present
    after = find_checkpoint("diffusion_models/auraflow", settings.home)
    assert after.stamp != before.stamp
    parts = describe_parts(after)
    assert len(parts.tokenizers_and_scheduler["tokenizer"]("a red cat")["input_ids"]) > 3
    vocabulary = done.path / "tokenizer_config.json"
    vocabulary.write_text(vocabulary.read_text() + " ")
    assert find_checkpoint("diffusion_models/auraflow", settings.home).stamp != after.stamp
    assert describe_parts(after).tokenizers_digest != parts.tokenizers_digest


def test_a_digest_that_is_known_must_be_the_hubs(server: FakeSource, settings: Settings) -> None:
    source = TOKENIZER_SOURCES["gemma2"]
    server.add_repository(source.repository, {"tokenizer.json": b"{}"})
    offer = plan("tokenizer:gemma2", settings)
    assert offer.licence == "openrail++; Google's Gemma terms of use"
    assert offer.files[0].sha256 == source.sha256["tokenizer.json"]
    with pytest.raises(DigestMismatchError):
        pull(offer, settings)
    assert not (settings.home / "tokenizers" / "gemma2").exists()
    other = [file.__class__(file.name, file.url, file.size, sha256="0" * 64) for file in offer.files]
    with pytest.raises(DigestMismatchError, match="The hub states"):
        tokenizer_plan("gemma2", offer.source, COMMIT, "", other, gated=False)


def test_a_gated_tokenizer_asks_for_a_token(
    server: FakeSource, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = TOKENIZER_SOURCES["mistral"].repository
    server.add_repository(repository, {"tokenizer/tokenizer.json": b"{}"}, gated="auto")
    _print_plan(plan("tokenizer:mistral", settings))
    shown = capsys.readouterr().err
    assert "the tokenizer of Mistral (Flux.2)" in shown
    assert "licence: openrail++, gated" in shown
    assert "--token-file FILE" in shown


def test_what_is_no_tokenizer(server: FakeSource, settings: Settings) -> None:
    with pytest.raises(ModelReferenceError, match="no tokenizer 'x'"):
        parse_reference("tokenizer:x")
    with pytest.raises(ModelReferenceError, match="--file"):
        parse_reference("tokenizer:glm", "tokenizer.json")
    glm = TOKENIZER_SOURCES["glm"].repository
    assert parse_reference("tokenizer:glm@v2") == HubReference(glm, "v2", tokenizer="glm")
    llama = TOKENIZER_SOURCES["llama"]
    assert parse_reference("tokenizer:llama").revision == llama.revision
    server.add_repository(glm, {"tokenizer/tokenizer_config.json": b"{}"})
    with pytest.raises(DownloadMissingError, match="has no tokenizer in tokenizer"):
        plan("tokenizer:glm", settings)


def test_every_tokenizer_of_a_layout_is_bundled_or_can_be_pulled() -> None:
    needed = {slot.tokenizer for layout in FAMILY_LAYOUTS for slot in layout.slots if slot.component != "vae"}
    assert needed <= {*BUNDLED_TOKENIZERS, *TOKENIZER_SOURCES}
    assert set(TOKENIZER_SOURCES) <= needed
    assert not set(BUNDLED_TOKENIZERS) & set(TOKENIZER_SOURCES)
