"""Detect which program wrote an image's metadata or a text, and read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safelight.errors import RecordInvalidError
from safelight.generation.infotext import NEGATIVE, parse
from safelight.generation.recall.comfyui import fill_from_graph
from safelight.generation.recall.filling import Filling, Here, Recalled
from safelight.generation.recall.graph import MOST_LINKS, MOST_NODES, Graph, is_graph
from safelight.generation.recall.infotexts import fill_from_infotext, source_of
from safelight.generation.recall.ours import fill_from_record, fill_from_request
from safelight.generation.record import ReproductionRecord
from safelight.generation.request import GenerationRequest
from safelight.images.metadata import Metadata, read_metadata
from safelight.images.picture import DecodeLimits

GRAPH, WORKFLOW = "prompt", "workflow"
"""PNG text keys of ComfyUI: the graph in API format, and the workflow of its editor."""


def recall_picture(data: bytes, here: Here, limits: DecodeLimits) -> Recalled:
    """Read request fields from an image file's metadata; pixels are not decoded.

    Args:
        data: Content of the file.
        here: The available checkpoints, upscalers and styles.
        limits: ``max_bytes`` limits the file's size.

    Raises:
        ImageError: The file is empty, too large, or no image.
    """
    metadata, filling = read_metadata(data, limits=limits), Filling(here)
    for note in metadata.notes:
        filling.leave("metadata", "", f"{note[:1].upper()}{note[1:]}.")
    return (
        _from_record(metadata, filling)
        or _from_text(metadata.parameters, filling)
        or _from_graph(_json(metadata.others.get(GRAPH)), filling)
        or _nothing(metadata, filling)
    )


def recall_text(text: str, here: Here) -> Recalled:
    """Read request fields from text: an infotext, or the JSON of a request, a record or a ComfyUI graph.

    Args:
        text: Any text; one in no known format gives no fields.
        here: The available checkpoints, upscalers and styles.
    """
    filling, body = Filling(here), _json(text)
    if isinstance(body, Mapping):
        return _from_graph(body, filling) or _from_ours(body, filling) or filling.recalled("none")
    return _from_text(text, filling) or filling.recalled("none")


def _from_record(metadata: Metadata, filling: Filling) -> Recalled | None:
    if metadata.record is None:
        return None
    try:
        record = ReproductionRecord.parse(metadata.record)
    except RecordInvalidError as error:  # the other metadata may still be readable
        filling.leave("record", "", error.message)
        return None
    fill_from_record(filling, record)
    return filling.recalled("safelight", metadata.parameters)


def _from_text(text: str | None, filling: Filling) -> Recalled | None:
    if text is None:
        return None
    read = parse(text)
    if not read.parameters and not any(line.startswith(NEGATIVE) for line in text.split("\n")):
        return None
    fill_from_infotext(filling, read)
    return filling.recalled(source_of(read), text)


def _from_graph(body: object, filling: Filling) -> Recalled | None:
    nodes = body.get(GRAPH) if isinstance(body, Mapping) and is_graph(body.get(GRAPH)) else body
    if not isinstance(nodes, Mapping) or not is_graph(nodes):
        return None
    graph = Graph(nodes)
    if graph.is_too_large:
        reason = (
            f"Graphs of at most {MOST_NODES} nodes and {MOST_LINKS} links are read, and this one is larger."
        )
        filling.leave(GRAPH, "", reason)
    elif not fill_from_graph(filling, graph):
        filling.leave(GRAPH, "", "No sampler that is known is in ComfyUI's graph.")
    return filling.recalled("comfyui")


def _from_ours(body: Mapping[str, Any], filling: Filling) -> Recalled | None:
    """Read a record, a request, or a job with its request."""
    if {"format", "versions", "expanded_prompt"} <= body.keys():
        return _from_record(Metadata(record=json.dumps(body)), filling)
    request = body.get("request")
    fields = request if isinstance(request, Mapping) else body
    if not GenerationRequest.model_fields.keys() & fields.keys():
        return None
    fill_from_request(filling, fields)
    return filling.recalled("safelight")


def _nothing(metadata: Metadata, filling: Filling) -> Recalled:
    if WORKFLOW in metadata.others:
        filling.leave(
            WORKFLOW, "", "ComfyUI's workflow alone does not say what was generated; its prompt is missing."
        )
    return filling.recalled("none", metadata.parameters)


def _json(text: str | None) -> object:
    """Parse a text as a JSON object; None if it is not JSON."""
    if text is None or text.lstrip()[:1] != "{":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
