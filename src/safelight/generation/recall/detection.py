"""Detect which program wrote an image's metadata or a text, and read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safelight.errors import RecordInvalidError
from safelight.generation.infotext import NEGATIVE_PREFIX, parse_infotext
from safelight.generation.recall.comfyui_fields import set_fields_from_graph
from safelight.generation.recall.comfyui_graph import MAX_LINKS, MAX_NODES, ComfyUIGraph, is_graph
from safelight.generation.recall.field_builder import AvailableModels, FieldBuilder, RecallResult
from safelight.generation.recall.infotext_fields import detect_program, set_fields_from_infotext
from safelight.generation.recall.safelight_fields import set_fields_from_record, set_fields_from_request
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.images.metadata.file_metadata import Metadata, read_metadata
from safelight.images.types import DecodeLimits

GRAPH_KEY, WORKFLOW_KEY = "prompt", "workflow"
"""PNG text keys of ComfyUI: the graph in API format, and the workflow of its editor."""


def recall_image(data: bytes, available: AvailableModels, limits: DecodeLimits) -> RecallResult:
    """Read request fields from an image file's metadata; pixels are not decoded.

    Args:
        data: Content of the file.
        available: The available checkpoints, upscalers and styles.
        limits: ``max_bytes`` limits the file's size.

    Raises:
        ImageError: The file is empty, too large, or no image.
    """
    metadata, filling = read_metadata(data, limits=limits), FieldBuilder(available)
    for note in metadata.notes:
        filling.add_unfilled("metadata", "", f"{note[:1].upper()}{note[1:]}.")
    return (
        _from_record(metadata, filling)
        or _from_text(metadata.infotext, filling)
        or _from_graph(_parse_json(metadata.other_texts.get(GRAPH_KEY)), filling)
        or _empty_result(metadata, filling)
    )


def recall_text(text: str, available: AvailableModels) -> RecallResult:
    """Read request fields from text: an infotext, or the JSON of a request, a record or a ComfyUI graph.

    Args:
        text: Any text; one in no known format gives no fields.
        available: The available checkpoints, upscalers and styles.
    """
    filling, body = FieldBuilder(available), _parse_json(text)
    if isinstance(body, Mapping):
        return _from_graph(body, filling) or _from_safelight_json(body, filling) or filling.build("none")
    return _from_text(text, filling) or filling.build("none")


def _from_record(metadata: Metadata, builder: FieldBuilder) -> RecallResult | None:
    if metadata.record is None:
        return None
    try:
        record = ReproductionRecord.parse(metadata.record)
    except RecordInvalidError as error:  # the other metadata may still be readable
        builder.add_unfilled("record", "", error.message)
        return None
    set_fields_from_record(builder, record)
    return builder.build("safelight", metadata.infotext)


def _from_text(text: str | None, builder: FieldBuilder) -> RecallResult | None:
    if text is None:
        return None
    read = parse_infotext(text)
    if not read.parameters and not any(line.startswith(NEGATIVE_PREFIX) for line in text.split("\n")):
        return None
    set_fields_from_infotext(builder, read)
    return builder.build(detect_program(read), text)


def _from_graph(body: object, builder: FieldBuilder) -> RecallResult | None:
    nodes = body.get(GRAPH_KEY) if isinstance(body, Mapping) and is_graph(body.get(GRAPH_KEY)) else body
    if not isinstance(nodes, Mapping) or not is_graph(nodes):
        return None
    graph = ComfyUIGraph(nodes)
    if graph.is_too_large:
        reason = (
            f"Graphs of at most {MAX_NODES} nodes and {MAX_LINKS} links are read, and this one is larger."
        )
        builder.add_unfilled(GRAPH_KEY, "", reason)
    elif not set_fields_from_graph(builder, graph):
        builder.add_unfilled(GRAPH_KEY, "", "No sampler that is known is in ComfyUI's graph.")
    return builder.build("comfyui")


def _from_safelight_json(body: Mapping[str, Any], builder: FieldBuilder) -> RecallResult | None:
    """Read a record, a request, or a job with its request."""
    if {"format", "versions", "expanded_prompt"} <= body.keys():
        return _from_record(Metadata(record=json.dumps(body)), builder)
    request = body.get("request")
    fields = request if isinstance(request, Mapping) else body
    if not GenerationRequest.model_fields.keys() & fields.keys():
        return None
    set_fields_from_request(builder, fields)
    return builder.build("safelight")


def _empty_result(metadata: Metadata, builder: FieldBuilder) -> RecallResult:
    if WORKFLOW_KEY in metadata.other_texts:
        builder.add_unfilled(
            WORKFLOW_KEY,
            "",
            "ComfyUI's workflow alone does not say what was generated; its prompt is missing.",
        )
    return builder.build("none", metadata.infotext)


def _parse_json(text: str | None) -> object:
    """Parse a text as a JSON object; None if it is not JSON."""
    if text is None or text.lstrip()[:1] != "{":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
