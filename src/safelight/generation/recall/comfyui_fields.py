"""Read request fields from ComfyUI graphs, starting at the sampler node and following its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Any

from safelight.generation.recall.comfyui_graph import ComfyUIGraph, GraphNode, linked_inputs
from safelight.generation.recall.field_builder import (
    FILE_SUFFIX,
    IMAGE_NOT_IN_FILE,
    NO_SUCH_FIELD,
    FieldBuilder,
)

_SAMPLER_NAMES: Mapping[str, str] = MappingProxyType({"uni_pc": "UniPC BH1", "uni_pc_bh2": "UniPC"})
"""ComfyUI names that mean a different sampler in Safelight; ``samplers.resolve_sampler`` accepts all others."""
_SCHEDULE_NODES: Mapping[str, str] = MappingProxyType(
    {
        "KarrasScheduler": "karras",
        "ExponentialScheduler": "exponential",
        "PolyexponentialScheduler": "exponential",
        "BetaSamplingScheduler": "beta",
    }
)
"""Nodes that stand for a sigma schedule."""
_REFERENCE_INPUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ReferenceLatent": ("latent",),
        "TextEncodeQwenImageEdit": ("image",),
        "TextEncodeQwenImageEditPlus": ("image1", "image2", "image3"),
        "InstructPixToPixConditioning": ("pixels",),
    }
)
"""Nodes that show the model a picture, and their inputs for it."""
_SEAMLESS: Mapping[object, str] = MappingProxyType(
    {"enable": "both", "x_only": "horizontal", "y_only": "vertical"}
)
"""Values of the node SeamlessTile."""
_CUSTOM_SAMPLER_INPUTS = ("noise", "guider", "sampler", "sigmas")
"""Inputs of custom samplers, which are composed of several nodes."""
_CHECKPOINT_INPUTS = ("ckpt_name", "unet_name", "model_name")
_TEXT_INPUTS = ("text", "text_g", "t5xxl", "clip_l", "clip_g", "text_l", "prompt")
"""Input names of nodes that take text, in order of preference."""


def set_fields_from_graph(builder: FieldBuilder, graph: ComfyUIGraph) -> bool:
    """Set the fields from the first pass of a graph; return False if the graph has no sampler."""
    samplers = [node for node in graph.nodes.values() if _is_sampler(node)]
    if not samplers:
        return False
    drawn = graph.downstream(samplers)
    first = next((node for node in samplers if not _continues_another(graph, node, drawn)), samplers[0])
    for other in samplers:
        if other is not first:
            builder.add_unfilled(
                f"node {other.id}", other.class_type, "Only one pass is filled in, the first."
            )
    _GraphPass(builder, graph, first).set_fields()
    return True


def _loads_image(node: GraphNode) -> bool:
    return "image" in node.inputs and node.class_type.startswith("LoadImage")


def _is_sampler(node: GraphNode) -> bool:
    return "latent_image" in node.inputs and ("positive" in node.inputs or "guider" in node.inputs)


def _continues_another(graph: ComfyUIGraph, node: GraphNode, downstream: Set[str]) -> bool:
    """Whether a sampler's initial latents come from the nodes ``downstream``, which depend on a sampler."""
    behind = graph.linked_node(node, "latent_image")
    return behind is not None and behind.id in downstream


class _GraphPass:
    """One sampler node and its inputs.

    Args:
        builder: The fields to set.
        graph: The graph.
        sampler: The sampler node.
    """

    def __init__(self, builder: FieldBuilder, graph: ComfyUIGraph, sampler: GraphNode) -> None:
        self._builder, self._graph, self._sampler = builder, graph, sampler
        helpers = [graph.linked_node(sampler, name) for name in _CUSTOM_SAMPLER_INPUTS]
        self._adapters: list[dict[str, Any]] = []
        self._nodes = [sampler, *(each for each in helpers if each is not None)]

    def set_fields(self) -> None:
        """Set all fields of the pass."""
        self._set_checkpoint()
        self._set_prompts()
        self._add_references()
        self._set_numbers()
        self._set_sampler()
        self._set_size_or_strength()

    def _value(self, *names: str) -> Any:
        """Return the first value with one of these input names among the sampler's nodes."""
        pairs = ((part, name) for name in names for part in self._nodes if name in part.inputs)
        return next((value for pair in pairs if (value := self._graph.value(*pair)) is not None), None)

    def _linked_node(self, name: str) -> GraphNode | None:
        found = (self._graph.linked_node(part, name) for part in self._nodes)
        return next((node for node in found if node is not None), None)

    def _set_checkpoint(self) -> None:
        def loads(node: GraphNode) -> bool:
            return any(name in node.inputs for name in _CHECKPOINT_INPUTS) and "model" not in node.inputs

        for node in self._graph.upstream(self._linked_node("model"), lambda _: ["model"], loads):
            if loads(node):
                name = next(name for name in _CHECKPOINT_INPUTS if name in node.inputs)
                self._builder.set_checkpoint(self._graph.value(node, name))
            elif "lora_name" in node.inputs:
                self._adapters.insert(0, self._adapter(node))
            elif node.class_type == "DifferentialDiffusion":
                self._builder.set_nested("inpaint", {"soft": True})
            elif node.class_type == "SeamlessTile":
                self._builder.set_field("seamless", _SEAMLESS.get(self._graph.value(node, "tiling"), "none"))
            elif node.class_type != "Reroute":
                self._builder.add_unfilled(f"node {node.id}", node.class_type, NO_SUCH_FIELD)

    def _set_prompts(self) -> None:
        positive = self._find_text(
            "positive", self._linked_node("positive") or self._linked_node("conditioning")
        )
        negative = self._find_text("negative", self._linked_node("negative"))
        self._builder.set_prompts(positive, negative, self._adapters)

    def _adapter(self, node: GraphNode) -> dict[str, Any]:
        """The fields of an adapter from the node that loads it; some nodes load it for the denoiser alone."""

        def strength(name: str, otherwise: float) -> float:
            value = self._graph.value(node, name)
            return float(value) if isinstance(value, int | float) else otherwise

        name = FILE_SUFFIX.sub("", str(self._graph.value(node, "lora_name")).replace("\\", "/"))
        model = strength("strength_model", 1.0)
        clip = strength("strength_clip", model if "clip" in node.inputs else 0.0)
        return {"name": name, "strength": clip, "denoiser": model}

    def _find_text(self, side: str, start: GraphNode | None) -> str | None:
        """Return the text of one side's conditioning; further texts are noted as not filled in."""

        def follow(node: GraphNode) -> list[str]:
            if side in node.inputs:
                return [side]
            return [name for name in linked_inputs(node) if name.startswith("conditioning")] or linked_inputs(
                node
            )

        def reads(node: GraphNode) -> bool:
            return any(name in node.inputs for name in _TEXT_INPUTS)

        texts: list[str] = []
        for node in self._graph.upstream(start, follow, reads):
            if reads(node):
                self._set_clip_skip(node)
                named = next(name for name in _TEXT_INPUTS if name in node.inputs)
                text = self._graph.value(node, named)
                if isinstance(text, str):
                    texts.append(text)
                else:
                    self._builder.add_unfilled(
                        f"{side} prompt", node.class_type, "Its words are made by another node."
                    )
            elif "control_net" in node.inputs:
                self._builder.add_unfilled(f"node {node.id}", node.class_type, NO_SUCH_FIELD)
        for other in texts[1:]:
            self._builder.add_unfilled(f"{side} prompt", other, "Only one prompt is filled in, the first.")
        return texts[0] if texts else None

    def _add_references(self) -> None:
        """Record the pictures that the model looked at."""
        start = self._linked_node("positive") or self._linked_node("conditioning")
        files: list[object] = []
        for node in self._graph.upstream(start, linked_inputs, lambda _: False):
            for name in _REFERENCE_INPUTS.get(node.class_type, ()):
                sources = self._graph.upstream(
                    self._graph.linked_node(node, name), linked_inputs, lambda _: False
                )
                files += [self._graph.value(each, "image") for each in sources if _loads_image(each)]
        for number, file in enumerate(files):
            self._builder.add_unfilled(f"references[{number}].image", file, IMAGE_NOT_IN_FILE)

    def _set_clip_skip(self, node: GraphNode) -> None:
        layer = self._graph.value(self._graph.linked_node(node, "clip"), "stop_at_clip_layer")
        if isinstance(layer, int):
            self._builder.set_field("clip_skip", -layer)

    def _set_numbers(self) -> None:
        self._builder.set_field("seed", self._value("seed", "noise_seed"))
        self._builder.set_field("noise_source", "cpu")  # where it draws the initial noise
        steps = self._value("steps")
        self._builder.set_field("steps", steps)
        start = self._linked_node("positive") or self._linked_node("conditioning")
        behind = self._graph.upstream(start, linked_inputs, lambda _: False)
        values = (self._graph.value(node, "guidance") for node in behind if "guidance" in node.inputs)
        scale = next((value for value in values if value is not None), None)
        guidance = self._value("cfg")
        self._builder.set_field("guidance_scale", guidance if scale is None else scale)
        if scale is not None and guidance != 1:
            self._builder.set_field("true_cfg_scale", guidance)
        begin, end = self._value("start_at_step"), self._value("end_at_step")
        if begin not in (None, 0):
            self._builder.add_unfilled("start_at_step", begin, NO_SUCH_FIELD)
        if isinstance(end, int) and isinstance(steps, int) and end < steps:
            self._builder.add_unfilled("end_at_step", end, NO_SUCH_FIELD)

    def _set_sampler(self) -> None:
        name, schedule = self._value("sampler_name"), self._value("scheduler")
        sigmas = self._graph.linked_node(self._sampler, "sigmas")
        if sigmas is not None and schedule is None:
            schedule = _SCHEDULE_NODES.get(sigmas.class_type)
            if schedule is None:
                self._builder.add_unfilled("schedule", sigmas.class_type, NO_SUCH_FIELD)
        self._builder.set_sampler(_SAMPLER_NAMES.get(str(name), name), schedule)

    def _set_size_or_strength(self) -> None:
        """Set the size from an empty latent, or the strength if there is an initial image."""

        def begins(node: GraphNode) -> bool:
            return "width" in node.inputs and "height" in node.inputs and node.class_type.startswith("Empty")

        strength = self._value("denoise")
        for node in self._graph.upstream(
            self._graph.linked_node(self._sampler, "latent_image"), linked_inputs, begins
        ):
            if begins(node):
                for name, ours in (("width", "width"), ("height", "height"), ("batch_size", "count")):
                    self._builder.set_field(ours, self._graph.value(node, name))
                return
            if _loads_image(node):
                self._builder.add_unfilled("init_image", self._graph.value(node, "image"), IMAGE_NOT_IN_FILE)
                self._builder.set_field("strength", strength)
                return
        self._builder.add_unfilled("size", "", "It is made by nodes that are not read.")
