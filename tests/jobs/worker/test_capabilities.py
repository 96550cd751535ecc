from __future__ import annotations

import pytest

from safelight.generation.record import Machine
from safelight.jobs.worker.capabilities import describe_generation, describe_moderation, describe_worker
from safelight.moderation.classifiers.classifier import ClassifierInfo
from safelight.settings import Settings
from safelight.studio import Studio

CPU = Machine(device="cpu", precision="fp32", backend="eager", threads=2)
CUDA = Machine(device="cuda", precision="auto", backend="eager", threads=1)
OPEN = ClassifierInfo("open-nsfw", "0", ("sfw", "nsfw"), 1024, "fast, openvino bf16")


@pytest.mark.parametrize(
    ("settings", "machine", "said"),
    [
        ({}, CPU, ["on cpu, since no accelerator was found", "in fp32, since nothing was measured yet"]),
        (
            {},
            CUDA,
            [
                "on cuda, the accelerator that was found",
                "in bf16, fp16 or fp32, as each component",
                "1 thread.",
            ],
        ),
        ({"device": "cpu"}, CPU, ["on cpu, as the setting device says", "2 threads."]),
        (
            {"device": "cuda"},
            CUDA.model_copy(update={"device": "cuda:0"}),
            ["on cuda:0, as the setting device says"],
        ),
        ({"device": "cuda"}, CPU, ["on cpu, in the place of another device"]),
        ({"generation_precision": "fp32"}, CPU, ["in fp32, as the setting generation_precision says"]),
        ({"generation_quality": "exact"}, CUDA, ["in fp32, as the quality exact says"]),
    ],
)
def test_reasons_of_the_generation_settings(
    settings: dict[str, str], machine: Machine, said: list[str]
) -> None:
    sentence = describe_generation(Settings.load(**settings), machine)
    for words in said:
        assert words in sentence


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "the fastest of what was measured here"),
        ({"exact": True}, "as the setting exact says"),
        ({"backend": "onnxruntime"}, "as the settings backend and precision say"),
        ({"precision": "bf16"}, "as the settings backend and precision say"),
        ({"moderation_device": "cuda"}, "as the setting moderation_device says"),
    ],
)
def test_reasons_of_the_classifiers_backend(settings: dict[str, object], said: str) -> None:
    sentence = describe_moderation(Settings.load(**settings), OPEN)
    assert sentence.startswith("Judges with open-nsfw (fast, openvino bf16), ")
    assert said in sentence


def test_the_path_of_a_classifier_is_not_disclosed() -> None:
    info = ClassifierInfo("/secret-folder/mine", "0", ("sfw", "nsfw"), 1024, "fast, openvino bf16")
    assert "secret" not in describe_moderation(Settings.load(), info)


def test_capabilities_of_a_studio(settings: Settings) -> None:
    found = describe_worker(Studio(settings.model_copy(update={"device": "cpu"})))
    assert (found["device"], found["precision"], found["backend"]) == ("cpu", "fp32", "eager")
    assert "Judges with open-nsfw (fast, onnxruntime fp32)" in found["why"]
