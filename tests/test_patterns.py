"""Every regular expression takes time proportional to its input, whatever the input is.

The table below has the worst case of each; a pattern that is missing from it fails the first test.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from safelight.unicode_normalization import MAX_MARKS, normalize

SOURCE = Path(__file__).parents[1] / "src" / "safelight"
USES = {"compile", "match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
SECONDS = 0.1
PROMPT, NAME, LINE, BLOCK, BODY = 10_000, 300, 64 << 10, 4 << 20, 1 << 20
Text = str | bytes


@dataclass(frozen=True)
class WorstCase:
    """How a pattern is used, and its slowest input.

    Args:
        use: A pattern's method, or a function of the text.
        texts: The input starts with the first, repeats the second as often as fits, and ends with the third.
        largest: The longest input that it gets, in characters or bytes.
    """

    use: str | Callable[[Any], object]
    texts: tuple[tuple[Text, Text, Text], ...]
    largest: int


def match_everywhere(pattern: re.Pattern[Any], text: Any) -> None:
    """Match at each position, as some parsers do."""
    for at in range(len(text)):
        pattern.match(text, at)


def sampler_key(text: str) -> None:
    from safelight.generation.solvers import samplers

    samplers._normalize_name(text)


def transformer_block(text: str) -> None:
    re.fullmatch("^blocks.*attn", text)  # as diffusers' patterns, whose import takes seconds


def mark_inversions(text: str) -> None:
    from safelight.generation.prompts.inversions import Inversions

    list((known := Inversions({"ink": 1, "ink blot": 2})).split(known.mark(text)))


def wildcard_pairs(text: str) -> None:
    from safelight.generation.prompts import wildcards

    wildcards._bracket_pairs(text)


def blocklist(text: str) -> None:
    from safelight.moderation.blocklist import Blocklist

    phrases = frozenset({"ab", "abc", "a b c"})
    lengths = {"ab": frozenset({2}), "abc": frozenset({3}), "a": frozenset({5})}
    Blocklist("none", "", phrases, lengths).judge([text])


def wan_name(name: str) -> None:
    from safelight.models.checkpoints.layouts import autoencoders

    with suppress(ValueError):  # a number of thousands of digits
        autoencoders._wan_name(name, 3)
        autoencoders._convert_wan({name: None})


def hunyuan_name(name: str) -> None:
    from safelight.models.checkpoints.layouts import hunyuan_dit

    with suppress(AttributeError):  # no tensor to split
        hunyuan_dit._convert({name: None})


def hunyuan_image_module(name: str) -> None:
    from safelight.models.checkpoints.layouts import hunyuan_image

    with suppress(KeyError):  # no name of a tensor
        hunyuan_image._parts(name)
    hunyuan_image._inside(name)
    hunyuan_image._beginning(name)


def hunyuan_image_autoencoder(name: str) -> None:
    from safelight.models.checkpoints.layouts import autoencoders

    with suppress(KeyError):  # no such block
        autoencoders._hunyuan_image_name(name, {}, {})


def open_clip_name(name: str) -> None:
    from safelight.models.checkpoints.layouts import text_encoders

    with suppress(AttributeError):
        text_encoders._convert_open_clip({name: None})


def perturbed_layers(name: str) -> None:
    from safelight.models.families import FAMILIES

    for kind in {family.pag for family in FAMILIES.values() if family.pag}:
        re.search(kind.layers, name)


def control_words(text: str) -> None:
    from safelight.models.controls import kinds

    kinds._words(text)


def control_unit(text: str) -> None:
    from safelight.generation.control import units

    list(units._pairs(text))


def matches_glob(text: str) -> None:
    from safelight.errors import FileMissingError
    from safelight.moderation.scan import sources

    with suppress(FileMissingError):
        sources._glob(f"/nowhere/{text}", lambda *_: None)


def matches_name(text: str) -> None:
    from safelight.studio.picture import unused_path

    unused_path(Path("/nowhere"), text, 1, ".png")


def size(text: str) -> None:
    from safelight.cli.generation import parse_size
    from safelight.errors import UsageError

    with pytest.raises(UsageError):
        parse_size(text)


def memory_size(text: str) -> None:
    from safelight.errors import SettingsError
    from safelight.runtime.devices.memory import parse_bytes

    with pytest.raises(SettingsError):
        parse_bytes(text)


def detects_format(data: bytes) -> None:
    from safelight.images import is_image

    assert not is_image(data)


BRACKETS = (("", "(", "x"), ("", "a(", "x"), ("", "\\", ""), ("", "BREAK ", ""), ("", "BREA", "K"))
HASHES = (("", "a", "z"), ("", "0", ""))
TABLE: dict[str, WorstCase] = {
    "runtime.devices.memory parse_bytes": WorstCase(
        memory_size, (("", " ", "x"), ("", "1", "x"), ("1.", "1", "x"), ("1", " ", "x"), ("", "9", "")), NAME
    ),
    "cli.control_option _OPTION": WorstCase(
        "fullmatch", (("", "a", "@"), ("a@", "a", ""), ("a:", "1", "x"), ("a=", "=", "\n")), LINE
    ),
    "cli.region_option _OPTION": WorstCase(
        "fullmatch", (("", "a", ""), ("a", ":1", ""), ("a:", "1", "x"), ("a=", "=", "")), LINE
    ),
    "generation.infotext REGION_KEY": WorstCase("fullmatch", (("Region ", "1", ""),), LINE),
    "generation.control.units INFOTEXT_KEY": WorstCase("fullmatch", (("ControlNet ", "1", ""),), LINE),
    "generation.control.units _HASH": WorstCase(
        "search", (("", "[", ""), ("", "[000000", ""), ("[", "0", "]"), ("", "[000000]", "x")), LINE
    ),
    "generation.control.units _pairs": WorstCase(
        control_unit,
        (
            ("", "starting/ending: (", ""),
            ("starting/ending: (", "a", ""),
            ("preprocessor params: (", "1, ", ""),
            ("", ", ", ""),
            ("", "a: b, ", ""),
        ),
        LINE,
    ),
    "models.controls.kinds _words": WorstCase(
        control_words, (("", "aB", ""), ("", "p", ""), ("", "p2", ""), ("", "1", "")), NAME
    ),
    "models.controls.ip_adapter _XLABS_LAYER": WorstCase(
        "fullmatch", (("double_blocks.", "1", ""), ("double_blocks.1.processor.", "1", "")), NAME
    ),
    "models.controls.lllite _KEY": WorstCase(
        "fullmatch", (("lllite_unet_", "a.down.1", ""), ("lllite_unet_a.mid.", "1", "")), NAME
    ),
    "models.controls.lllite _LAYER": WorstCase(
        "fullmatch", (("input_blocks_", "1", ""), ("middle_block_1_transformer_blocks_", "1", "")), NAME
    ),
    "models.checkpoints.layouts.control_transformers _ORIGINAL_FULL": WorstCase(
        "fullmatch", (("body.", "1", ""), ("body.1.block1.", "a", "\n")), NAME
    ),
    "models.checkpoints.layouts.control_transformers _ORIGINAL_LIGHT": WorstCase(
        "fullmatch", (("body.", "1", ""), ("body.1.body.", "1", ""), ("body.1.body.1.", "a", "\n")), NAME
    ),
    "models.hub.references _HUB": WorstCase(
        "fullmatch", (("a/", "a", "/"), ("a/a@", "a/", "!"), ("", "a.", "!")), NAME
    ),
    "models.hub.references _CIVITAI": WorstCase("fullmatch", (("civitai:", "1", "x"),), NAME),
    "models.hub.references _AIR": WorstCase(
        "fullmatch", (("urn:air:", "a", "!"), ("air:a:", "a", ":"), ("air:", "a:", "civitai:1x")), NAME
    ),
    "models.hub.references _CIVITAI_PAGE": WorstCase(
        "match", (("/models/", "1", "x"), ("/models/1/", "a/", "")), NAME
    ),
    "models.hub.references _CIVITAI_DOWNLOAD": WorstCase(
        "match", (("/api/download/models/", "1", "x"),), NAME
    ),
    "models.hub.references _HUB_PAGE": WorstCase(
        "fullmatch",
        (("/", "a", "!"), ("/a/", "a", "/tree/"), ("/a/a/blob/", "a", "!"), ("/a/a/tree/a/", "/", "\n")),
        NAME,
    ),
    "models.hub.civitai _SHA256": WorstCase("fullmatch", HASHES, LINE),
    "models.hub.hub_repository _COMMIT": WorstCase("fullmatch", HASHES, LINE),
    "models.hub.pull_plan _UNSAFE": WorstCase("sub", (("", "/", ""), ("", "a", "")), LINE),
    "cli.generation parse_size": WorstCase(size, (("", " ", "x"), ("1", " ", "y"), ("1x1", " ", "y")), NAME),
    "cli.info _CONTROL": WorstCase("sub", (("", "\x1b", ""), ("", "a", "")), BODY),
    "models.checkpoints.llama_names _BLOCK_NAME": WorstCase(
        "fullmatch", (("blk.", "0", ""), ("blk.0.", "a", ".")), NAME
    ),
    "gallery.entry_ids _ID": WorstCase("fullmatch", HASHES, NAME),
    "gallery.query_syntax _TERM": WorstCase(
        "findall",
        (("", "a", ""), ("", '"', ""), ('"', "a", ""), ("", "-", ""), ("", " -", ""), ("", ' -"a', "")),
        LINE,
    ),
    "gallery.tokenization _TOKEN": WorstCase(
        "findall", (("", "a", "_"), ("", "a_", ""), ("", "_", "")), LINE
    ),
    "gallery.tokenization _IDEOGRAPH": WorstCase("sub", (("", "猫", ""), ("", "a", "")), LINE),
    "generation.infotext _KEY": WorstCase(
        "match",
        (
            ("", " ", "x"),
            ("a", " ", "x"),
            ("", "a", ","),
            ("a:", " ", "x"),
            ("", 'a"', ""),
            ("", "\xa0", ","),
        ),
        LINE,
    ),
    "generation.infotext _VALUE_END": WorstCase("match", (("", " ", "x"), ("", "\n", "")), LINE),
    "generation.infotext _WHOLE": WorstCase("fullmatch", (("", "1", "x"), ("1.", "0", "x")), LINE),
    "generation.infotext _SIZE": WorstCase("fullmatch", (("", "1", "x"), ("", "1x", "")), LINE),
    "generation.prompts.grammar _TOKEN": WorstCase("findall", BRACKETS, PROMPT),
    "generation.prompts.grammar _NUMBER": WorstCase("fullmatch", (("", " ", "x"), ("1", " ", "x")), PROMPT),
    "generation.prompts.tree _ESCAPED_OUTSIDE_BRACKETS": WorstCase("sub", BRACKETS, PROMPT),
    "generation.prompts.tree _ESCAPED_INSIDE_BRACKETS": WorstCase("sub", BRACKETS, PROMPT),
    "generation.prompts.tree _BREAK_WORD": WorstCase("sub", BRACKETS, PROMPT),
    "generation.prompts.wildcards _WILDCARD": WorstCase(
        match_everywhere,
        (("", "__a", ""), ("", "__" + "a_" * 99, ""), ("", "_", "a"), ("__", "a", "")),
        PROMPT,
    ),
    "generation.prompts.unsupported _UNSUPPORTED": WorstCase(
        "findall",
        (
            ("", "<a:", ""),
            ("<", "a", ""),
            ("<a:", "a", ""),
            ("", "embedding:", ""),
            ("", "\\", ""),
            ("", "A", ""),
        ),
        PROMPT,
    ),
    "generation.prompts.composition _WEIGHT": WorstCase(
        "search", (("", ":1", "x"), ("", ": ", "x"), (":1", " ", "x")), 64
    ),
    "generation.prompts.composition _AND": WorstCase(
        "findall", (("", "\\", ""), ("", "AND ", ""), ("", "A", "")), PROMPT
    ),
    "generation.prompts.wildcards _ESCAPE_OR_WILDCARD": WorstCase(
        "findall", (("", "__a", ""), ("", "__" + "a_" * 99, ""), ("", "\\", ""), ("", "__\\", "")), PROMPT
    ),
    "generation.prompts.wildcards _CHOICE_COUNT": WorstCase(
        "match", (("", " ", "x"), ("1$$", "a", ""), ("1$$", "a$", "")), PROMPT
    ),
    "generation.prompts.wildcards _WEIGHT_BEFORE": WorstCase(
        "fullmatch", (("", " ", "x"), ("1::", "a", "")), PROMPT
    ),
    "generation.prompts.wildcards _WEIGHT_AFTER": WorstCase(
        "fullmatch",
        (("", ":", "x"), ("", ": ", "x"), ("", ":1 ", "x"), ("", "\\", ""), ("a:1", " ", "x")),
        PROMPT,
    ),
    "generation.prompts.wildcards _bracket_pairs": WorstCase(
        wildcard_pairs, (("", "{[", "}"), ("", "\\", "")), PROMPT
    ),
    "generation.adapters.strength _SCHEDULE": WorstCase(
        "match", (("", "1@1,", "x"), ("", "1", "x"), ("1", ",1", ",")), 2000
    ),
    "generation.prompts.adapter_tags _TAG": WorstCase(
        "findall", (("", "<a:", ""), ("", "<", ""), ("<", "a", ""), ("<a:", "b", ""), ("", "\\", "")), PROMPT
    ),
    "generation.prompts.inversions Inversions": WorstCase(
        mark_inversions,
        (("", "ink blo", ""), ("", "embedding:", ""), ("", "ink", ""), ("", "\\", "")),
        PROMPT,
    ),
    "generation.prompts.inversions _MARKED": WorstCase("findall", (("", "\U000f0000", ""),), PROMPT),
    "generation.prompts.inversions _NAMED": WorstCase(
        "findall", (("", "embedding:", ""), ("", "embedding", ""), ("embedding:", "a", "")), PROMPT
    ),
    "generation.prompts.inversions _SUFFIX": WorstCase("sub", (("", ".pt", "x"), ("", ".", "")), PROMPT),
    "generation.recall.field_builder FILE_SUFFIX": WorstCase("sub", (("", ".pt", "x"), ("", ".", "")), LINE),
    "generation.record _NOT_IN_XML": WorstCase("search", (("", "a", ""),), BLOCK),
    "generation.solvers.samplers _normalize_name": WorstCase(
        sampler_key, (("", " ", "x"), ("", "k_", ""), ("", "-a", "")), LINE
    ),
    "generation.upscaling.scale_factor _FACTOR_IN_NAME": WorstCase(
        "search", (("", "4", ""), ("", "x", ""), ("", "-4x4", "")), NAME
    ),
    "generation.upscaling.scale_factor _LAYER_NUMBER": WorstCase(
        "match", (("body.", "1", ""), ("", "conv_up", "")), LINE
    ),
    "images.decoder_errors _TRUNCATED": WorstCase(
        "search", (("", "end of ", ""), ("", "not ", ""), ("", "eo", "")), NAME
    ),
    "images.decoder_errors _UNSUPPORTED": WorstCase(
        "search", (("", "not yet ", ""), ("", "unknown ", "")), NAME
    ),
    "images.formats.isobmff _AV1": WorstCase("findall", ((b"", b"av1C", b""), (b"", b"a", b"")), BLOCK),
    "images.formats.isobmff _EXTENT": WorstCase(
        "findall", ((b"", b"ispe\0\0\0", b""), (b"", b"i", b"")), BLOCK
    ),
    "images.formats.jpeg _MARKER": WorstCase("search", ((b"", b"\xff", b""), (b"", b"\xff\0", b"")), BLOCK),
    "images.formats.jpeg _MARKER_IN_SCAN": WorstCase(
        "search", ((b"", b"\xff\0", b""), (b"", b"\xff\xd0", b"")), BLOCK
    ),
    "images.sniff _MAGIC": WorstCase(
        detects_format,
        (
            (b"", b"<!---->", b"x"),
            (b"", b"<!--", b""),
            (b"", b"<!-- -->\n", b""),
            (b"<?xml", b" ", b""),
            (b"<?xml>", b" ", b""),
            (b"", b" ", b"x"),
            (b"\xef\xbb\xbf", b"\n", b"<!--"),
        ),
        1024,
    ),
    "images.metadata.xmp _NOT_IN_XML": WorstCase("search", (("", "a", ""), ("", "\U00010000", "")), BLOCK),
    "moderation.scan.sources _glob": WorstCase(
        matches_glob, (("", "*", ""), ("", "*a", "x"), ("", "**/", "")), NAME
    ),
    "moderation.blocklist _WORD_CHARACTER": WorstCase("match", (("", "a", ""),), LINE),
    "moderation.blocklist _TOKEN": WorstCase(
        blocklist, (("", "ab", ""), ("", "a ", ""), ("", "a b ", ""), ("", "-", "")), LINE
    ),
    "runtime.openmp _TORCH_LIBGOMP": WorstCase(
        "search", (("", "/a\n", ""),), LINE
    ),  # modules that this process has loaded
    "server.api.checkpoint_names _TITLE": WorstCase(
        "sub", (("a", " ", "x"), ("", "[", ""), ("", "[0123456789", "")), LINE
    ),
    "server.api.checkpoint_names _HASH": WorstCase("fullmatch", HASHES, LINE),
    "server.api.openai_model_names _OPENAI_NAMES": WorstCase(
        "fullmatch", (("dall-e-", "a", ""), ("gpt-image", "-", "")), LINE
    ),
    "server.security.keys _NAME": WorstCase("fullmatch", (("a", "-", " "),), NAME),
    "server.security.keys _KEY": WorstCase(
        "fullmatch", (("sl_", "0", ""), ("sl_012345678901_", "a", "")), LINE
    ),
    "server.middleware.body_limits _BOUNDARY": WorstCase("fullmatch", ((b"", b"a", b"\n"),), LINE),
    "server.middleware.telemetry _VALID_ID": WorstCase("fullmatch", (("", "a", "\n"),), LINE),
    "server.middleware.host_origin _HOST": WorstCase(
        "fullmatch", (("", "a.", "/"), ("[", ":", ""), ("a:", "1", "")), LINE
    ),
    "server.core.request_bodies.image_inputs _DATA_URI": WorstCase(
        "match", (("data:", ";", ""), ("data:", "a" * 99 + ";", "")), BODY
    ),
    "server.core.request_bodies.image_inputs _URL": WorstCase("match", (("", "http", ""),), BODY),
    "server.core.request_bodies.json_limits _DELIMITER": WorstCase("search", ((b"", b"a", b""),), BLOCK),
    "server.core.request_bodies.json_limits _SURROGATES": WorstCase(
        "findall", ((b"", b"\\ud83d", b""), (b"", b"\\", b""), (b"", b"\\u", b"")), BODY
    ),
    "server.core.request_bodies.multipart _NESTED": WorstCase(
        "fullmatch", (("", "a", ""), ("a[", "1", ""), ("a[1].", "a", "!")), NAME
    ),
    "studio.picture unused_path": WorstCase(
        matches_name, (("", " ", "x"), ("", "a-", ""), ("", "-", "")), PROMPT
    ),
    "generation.modifiers.perturbed_attention PerturbedProcessors": WorstCase(
        perturbed_layers, (("", "mid_block.", ""), ("", "blocks.1", "x")), NAME
    ),
    "ui.panels NAME": WorstCase("fullmatch", (("", "a", "!"),), NAME),
    **{
        f"models.checkpoints.layouts.{name}": WorstCase(use, texts, LINE)
        for name, use, texts in (
            (
                "autoencoders _convert_wan",
                wan_name,
                (("decoder.upsamples.", "1", "."), ("decoder.", "a.", "")),
            ),
            ("autoencoders _wan_name", wan_name, (("decoder.upsamples.1", "0", ".x"), ("", "conv1.", ""))),
            ("hunyuan_dit _convert", hunyuan_name, (("", ".Wqkv", ".x"), ("blocks.", "1", ".norm1.x"))),
            ("text_encoders _convert_open_clip", open_clip_name, (("", ".in_proj_", "x"), ("", "a.", ""))),
        )
    },
    **{
        f"models.checkpoints.layouts.hunyuan_image {name}": WorstCase(
            hunyuan_image_module,
            (
                ("", "blocks.1.", ""),
                ("", "a.", ""),
                ("", "blocks.", "x.weight"),
                ("", ".mlp.0", "x"),
                ("img_mlp.", "a", ""),
            ),
            LINE,
        )
        for name in ("_parts", "_inside", "_beginning")
    },
    "models.checkpoints.layouts.autoencoders _hunyuan_image_name": WorstCase(
        hunyuan_image_autoencoder, (("decoder.up.", "1", "."), ("", ".mid.attn_1.", ""), ("", ".q", "")), LINE
    ),
    "models.checkpoints.layouts.autoencoders _QWEN21_BLOCK": WorstCase(
        "fullmatch", (("encoder.downsamples.", "1", "."), ("encoder.downsamples.1.", "up", "")), LINE
    ),
    "models.checkpoints.layouts.autoencoders _QWEN21_MIDDLE": WorstCase(
        "fullmatch", (("encoder.middle.1.", "a", "\n"), ("", "encoder.", "")), LINE
    ),
    "models.checkpoints.safetensors_header _METADATA": WorstCase(
        "match", (("{", " ", ""), ('{"__metadata__"', " ", "x")), BLOCK
    ),
    "models.checkpoints.safetensors_header _AFTER_METADATA": WorstCase(
        "match", (("", " ", ""), (",", " ", "x"), (" ", ", ", "")), BLOCK
    ),
    "models.adapters.layer_keys _OLD_PROCESSOR": WorstCase(
        "match",
        (
            ("", ".processor.", ""),
            (".processor.", "_lora", ""),
            ("", ".processor.a_lora1", ".up.weight"),
            (".processor.a_lora", "1", ".up"),
        ),
        LINE,
    ),
    "models.adapters.layer_keys _OLD_LINEAR": WorstCase(
        "match", (("", "_lora", ""), ("", "_lora.up", ".weight"), ("", "a", "")), LINE
    ),
    "models.adapters.layer_keys _ADAPTER_NAME": WorstCase(
        "sub", (("", ".lora_A", ""), (".lora_A.", "a", "."), ("", ".lora_A.a.weight", "x")), LINE
    ),
    "models.adapters.layer_names _ENCODER": WorstCase(
        "match", (("lora_te", "1", ""), ("", "text_encoder_2", "")), LINE
    ),
    "models.checkpoints.layouts.own_names _BLOCK": WorstCase(
        "match",
        (("down_blocks.", "1", ""), ("up_blocks.1.resnets.", "1", ""), ("", "up_blocks.1.", "")),
        LINE,
    ),
    "models.checkpoints.layouts.own_names _MIDDLE": WorstCase(
        "match", (("mid_block.resnets.", "1", ""), ("", "mid_block.", "")), LINE
    ),
    "models.inventory.upload _UNSAFE": WorstCase("search", (("", "a", ""),), NAME),
    "models.hub.references _TOKENIZER": WorstCase(
        "fullmatch", (("tokenizer:", "a", "!"), ("tokenizer:a@", "a/", "!"), ("tokenizer:", "a-", "@")), NAME
    ),
    "models.checkpoints.sections _PREFIXES": WorstCase(
        "match",
        (
            ("text_encoders.", "a.", ""),
            ("text_encoders.a", "-", ".model"),
            ("conditioner.embedders.", "1", "."),
            ("transformer.", "resblocks.", ""),
        ),
        LINE,
    ),
    "ui.mount STATIC_IMPORT": WorstCase(  # of the program's own scripts, whose lines are short
        "findall", (("", 'import from "." from "\n', ""), ("import ", 'from ".a" ', "")), 4096
    ),
    "generation.modifiers.transformer_cache supports_cache": WorstCase(  # names of the modules of transformers
        transformer_block, (("", "blocks.0.", "!"), ("", "0", "!")), NAME
    ),
    "ui.mount INLINE_SCRIPT": WorstCase(  # of the program's own page
        "findall",
        ((b"", b"<script>a</script>", b""), (b"<script", b" ", b""), (b"<script>", b"a", b"")),
        LINE,
    ),
    "ui.mount ALLOWED_PATHS": WorstCase(
        "fullmatch", (("/static", "/a", " "), ("/static", "/", ""), ("/assets/", "a.", "\n")), LINE
    ),
    "unicode_normalization _drop_excess_marks": WorstCase(
        lambda text: normalize("NFKD", text),
        (
            ("a", "\u0301\u0327", ""),
            ("a", "\u0f73", ""),
            ("", "a\u0301", ""),
            ("", "\u0301" * MAX_MARKS + "a", ""),
            ("", "\u1161", ""),
            ("", "\ufdfa", ""),
        ),
        LINE,
    ),
}


def regular_expressions() -> list[str]:
    """Module, and name of the constant or the function, of each regular expression in the source."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for statement in ast.parse(path.read_text()).body:
            if any(_is_pattern(node) for node in ast.walk(statement)):
                name = (
                    ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else statement.name
                )
                found.append(f"{module} {name}")
    return found


def _is_pattern(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("re", "regex")
        and node.func.attr in USES
    )


def test_each_pattern_has_its_worst_case():
    assert set(regular_expressions()) == set(TABLE)
    others = [
        path for path in SOURCE.rglob("*.py") if re.search(r"^from (re|regex) import", path.read_text(), re.M)
    ]
    assert not others  # they would not be found above


@pytest.mark.parametrize("name", TABLE)
def test_the_worst_case_takes_linear_time(name):
    worst = TABLE[name]
    use = worst.use
    if isinstance(use, str) or use is match_everywhere:
        module, constant = name.split()
        pattern = getattr(importlib.import_module(f"safelight.{module}"), constant)
        if use is match_everywhere:
            use = partial(match_everywhere, pattern)
        else:
            use = partial(pattern.sub, "") if use == "sub" else getattr(pattern, use)
    for begin, again, end in worst.texts:
        # in small steps at first: an exponential pattern fails soon instead of hanging
        few = [int(32 * 1.2**step) for step in range(24) if 32 * 1.2**step < worst.largest / 4]
        took = [
            seconds(use, build_text(begin, again, end, size))
            for size in (*few, worst.largest // 4, worst.largest)
        ]
        assert took[-1] < SECONDS, (begin, again, end, took)
        assert took[-1] < 4 * 3 * took[-2] + 0.005, (begin, again, end, took[-2:])


def build_text(begin: Any, again: Any, end: Any, size: int) -> Any:
    return begin + again * ((size - len(begin) - len(end)) // len(again)) + end


def seconds(use: Callable[[Any], object], text: Text) -> float:
    """CPU seconds of this thread alone, so that a busy machine does not count; the best of three."""
    found = []
    for _ in range(3):
        began = time.thread_time()
        use(text)
        found.append(time.thread_time() - began)
        assert found[-1] < 10 * SECONDS, (text[:40], len(text), found)
    return min(found)


@pytest.mark.parametrize("form", ["NFC", "NFKC", "NFD", "NFKD"])
def test_normal_forms_agree_with_unicodedata(form):
    texts = [
        "",
        "abc",
        "Crème brûlée",
        "e\u0301\u0327" * 20_000,
        "\u1112\u1161\u11ab" * 30_000,
        "한국어" * 30_000,
    ]
    texts += [
        "\u0f73\u0f75" * 3,
        "ﷺ" * 5000,
        "x" * 65_535 + "e\u0301",
        "\u09c7\u09be" * 40_000,
        "猫とdog" * 20_000,
    ]
    for text in texts:
        assert normalize(form, text) == unicodedata.normalize(form, text)
    many = "a" + "\u0301" * 100 + "b"
    assert normalize("NFD", many) == "a" + "\u0301" * MAX_MARKS + "b"
