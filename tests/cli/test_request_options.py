"""Options for the fields of a request; what comes of them in a picture is in test_generate.py and test_edit.py."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import typer

from safelight.cli.request_options import (
    ORDER,
    SIZE,
    ImageToImageCommand,
    RequestCommand,
    TextToImageCommand,
    given_fields,
)
from safelight.generation.fields import fields_by_path
from safelight.generation.request import GenerationRequest

SHARED = (
    *("--negative", "--style", "--checkpoint", "--seed", "--steps", "--sampler", "--schedule", "--guidance"),
    *("--size", "--count", "--clip-skip"),
)
PICTURE = (
    *("--mask", "--strength", "--fill", "--blur", "--only-masked", "--padding", "--invert", "--soft"),
    *("--left", "--right", "--top", "--bottom"),
)
PARTS = ("--lora", "--true-cfg", "--vae", "--text-encoder", "--quality", "--seamless", "--noise-source")
HIRES = ("--hires", "--hires-upscaler", "--hires-strength")
SECOND = ("--hires-prompt", "--hires-negative", "--hires-guidance", "--hires-checkpoint")
LAST = ("--refiner", "--refiner-switch", "--control", "--reference", "--region")


def fields_from(command: type[RequestCommand], *arguments: str) -> dict[str, Any]:
    app = typer.Typer(add_completion=False)
    found: dict[str, Any] = {}

    @app.command(cls=command)
    def run(ctx: typer.Context, words: str, own: int = 1) -> None:
        found.update(given_fields(ctx))

    app([*arguments, "words"], standalone_mode=False)
    return found


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (TextToImageCommand, SHARED + HIRES + PARTS + SECOND + LAST),
        (ImageToImageCommand, PICTURE + SHARED + PARTS + LAST),
    ],
)
def test_the_options_and_their_order_are_part_of_the_command_line(
    command: type[RequestCommand], names: tuple[str, ...]
) -> None:
    made = command("x", params=[])
    parameters = made.get_params(made.make_context("x", []))
    assert [each.opts[0] for each in parameters[:-1]] == list(names)  # the last is --help


@pytest.mark.parametrize("name", ["generate", "edit", "upscale"])
def test_no_option_is_there_twice(name: str) -> None:
    module = importlib.import_module(f"safelight.cli.{name}")
    kind = {"generate": TextToImageCommand, "edit": ImageToImageCommand}.get(name)
    alone = typer.Typer(add_completion=False)
    alone.command(cls=kind)(getattr(module, name))
    command = typer.main.get_command(alone)
    context = command.make_context(name, [], resilient_parsing=True)
    options = [option for each in command.get_params(context) for option in each.opts]
    assert "--out" in options
    assert sorted(set(options)) == sorted(options)


def test_the_order_names_options_that_exist() -> None:
    fields = fields_by_path(GenerationRequest)
    assert [path for path in ORDER if path != SIZE and fields[path].options.cli is None] == []


def test_only_options_that_are_given_become_fields() -> None:
    assert fields_from(TextToImageCommand) == {}
    assert fields_from(ImageToImageCommand, "--own", "2") == {}
    given = fields_from(
        *(TextToImageCommand, "--seed", "0", "--style", "a", "--style", "b", "--guidance", "0"),
        *("--size", "64x32", "--hires", "2", "-n", "", "-c", "1"),
    )
    assert given == {
        "negative_prompt": "",
        "styles": ["a", "b"],
        "seed": 0,
        "guidance_scale": 0.0,
        "count": 1,
        "width": 64,
        "height": 32,
        "hires": {"scale": 2.0},
    }


def test_references_are_pictures_by_their_paths() -> None:
    given = fields_from(TextToImageCommand, "--reference", "a.png", "--reference", "b.png")
    assert given == {"references": [{"image": "a.png"}, {"image": "b.png"}]}


def test_edges_of_no_width_are_no_outpainting() -> None:
    assert fields_from(ImageToImageCommand, "--left", "0") == {}
    extended = fields_from(ImageToImageCommand, "--left", "0", "--top", "8", "--only-masked")
    assert extended == {"outpaint": {"left": 0, "top": 8}, "inpaint": {"only_masked": True}}
