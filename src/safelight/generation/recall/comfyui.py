"""Read request fields from ComfyUI graphs, starting at the sampler node and following its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Any

from safelight.generation.recall.filling import ADAPTERS, NO_FIELD, NOT_HELD, Filling
from safelight.generation.recall.graph import Graph, Node, links

_SAMPLERS: Mapping[str, str] = MappingProxyType({"uni_pc": "UniPC BH1", "uni_pc_bh2": "UniPC"})
"""ComfyUI names that mean a different sampler in Safelight; ``samplers.resolve`` accepts all others."""
_SIGMAS: Mapping[str, str] = MappingProxyType(
    {
        "KarrasScheduler": "karras",
        "ExponentialScheduler": "exponential",
        "PolyexponentialScheduler": "exponential",
        "BetaSamplingScheduler": "beta",
    }
)
"""Nodes that stand for a sigma schedule."""
_HELPERS = ("noise", "guider", "sampler", "sigmas")
"""Inputs of custom samplers, which are composed of several nodes."""
_LOADED = ("ckpt_name", "unet_name", "model_name")
_WORDS = ("text", "text_g", "t5xxl", "clip_l", "clip_g", "text_l", "prompt")
"""Input names of nodes that take text, in order of preference."""


def fill_from_graph(filling: Filling, graph: Graph) -> bool:
    """Set the fields from the first pass of a graph; return False if the graph has no sampler."""
    samplers = [node for node in graph.nodes.values() if _is_sampler(node)]
    if not samplers:
        return False
    drawn = graph.downstream(samplers)
    first = next((node for node in samplers if not _draws_on(graph, node, drawn)), samplers[0])
    for other in samplers:
        if other is not first:
            filling.leave(f"node {other.number}", other.kind, "Only one pass is filled in, the first.")
    _Pass(filling, graph, first).fill()
    return True


def _is_sampler(node: Node) -> bool:
    return "latent_image" in node.inputs and ("positive" in node.inputs or "guider" in node.inputs)


def _draws_on(graph: Graph, node: Node, drawn: Set[str]) -> bool:
    """Whether a sampler's initial latents come from the nodes ``drawn``, which depend on a sampler."""
    behind = graph.behind(node, "latent_image")
    return behind is not None and behind.number in drawn


class _Pass:
    """One sampler node and its inputs.

    Args:
        filling: The fields to set.
        graph: The graph.
        sampler: The sampler node.
    """

    def __init__(self, filling: Filling, graph: Graph, sampler: Node) -> None:
        self._filling, self._graph, self._sampler = filling, graph, sampler
        helpers = [graph.behind(sampler, name) for name in _HELPERS]
        self._parts = [sampler, *(each for each in helpers if each is not None)]

    def fill(self) -> None:
        """Set all fields of the pass."""
        self._put_checkpoint()
        self._put_words()
        self._put_numbers()
        self._put_sampler()
        self._put_start()

    def _value(self, *names: str) -> Any:
        """Return the first value with one of these input names among the sampler's nodes."""
        pairs = ((part, name) for name in names for part in self._parts if name in part.inputs)
        return next((value for pair in pairs if (value := self._graph.value(*pair)) is not None), None)

    def _behind(self, name: str) -> Node | None:
        found = (self._graph.behind(part, name) for part in self._parts)
        return next((node for node in found if node is not None), None)

    def _put_checkpoint(self) -> None:
        def loads(node: Node) -> bool:
            return any(name in node.inputs for name in _LOADED) and "model" not in node.inputs

        for node in self._graph.upstream(self._behind("model"), lambda _: ["model"], loads):
            if loads(node):
                name = next(name for name in _LOADED if name in node.inputs)
                self._filling.put_checkpoint(self._graph.value(node, name))
            elif "lora_name" in node.inputs:
                self._filling.leave("adapter", self._graph.value(node, "lora_name"), ADAPTERS)
            elif node.kind != "Reroute":
                self._filling.leave(f"node {node.number}", node.kind, NO_FIELD)

    def _put_words(self) -> None:
        positive = self._words("positive", self._behind("positive") or self._behind("conditioning"))
        negative = self._words("negative", self._behind("negative"))
        self._filling.put_prompts(positive, negative)

    def _words(self, side: str, start: Node | None) -> str | None:
        """Return the text of one side's conditioning; further texts are noted as not filled in."""

        def follow(node: Node) -> list[str]:
            if side in node.inputs:
                return [side]
            return [name for name in links(node) if name.startswith("conditioning")] or links(node)

        def reads(node: Node) -> bool:
            return any(name in node.inputs for name in _WORDS)

        texts: list[str] = []
        for node in self._graph.upstream(start, follow, reads):
            if reads(node):
                self._put_clip_skip(node)
                named = next(name for name in _WORDS if name in node.inputs)
                text = self._graph.value(node, named)
                if isinstance(text, str):
                    texts.append(text)
                else:
                    self._filling.leave(f"{side} prompt", node.kind, "Its words are made by another node.")
            elif "control_net" in node.inputs:
                self._filling.leave(f"node {node.number}", node.kind, NO_FIELD)
        for other in texts[1:]:
            self._filling.leave(f"{side} prompt", other, "Only one prompt is filled in, the first.")
        return texts[0] if texts else None

    def _put_clip_skip(self, node: Node) -> None:
        layer = self._graph.value(self._graph.behind(node, "clip"), "stop_at_clip_layer")
        if isinstance(layer, int):
            self._filling.put("clip_skip", -layer)

    def _put_numbers(self) -> None:
        self._filling.put("seed", self._value("seed", "noise_seed"))
        steps = self._value("steps")
        self._filling.put("steps", steps)
        start = self._behind("positive") or self._behind("conditioning")
        behind = self._graph.upstream(start, links, lambda _: False)
        told = (self._graph.value(node, "guidance") for node in behind if "guidance" in node.inputs)
        scale = next((value for value in told if value is not None), None)
        self._filling.put("guidance_scale", self._value("cfg") if scale is None else scale)
        begin, end = self._value("start_at_step"), self._value("end_at_step")
        if begin not in (None, 0):
            self._filling.leave("start_at_step", begin, NO_FIELD)
        if isinstance(end, int) and isinstance(steps, int) and end < steps:
            self._filling.leave("end_at_step", end, NO_FIELD)

    def _put_sampler(self) -> None:
        name, schedule = self._value("sampler_name"), self._value("scheduler")
        sigmas = self._graph.behind(self._sampler, "sigmas")
        if sigmas is not None and schedule is None:
            schedule = _SIGMAS.get(sigmas.kind)
            if schedule is None:
                self._filling.leave("schedule", sigmas.kind, NO_FIELD)
        self._filling.put_sampler(_SAMPLERS.get(str(name), name), schedule)

    def _put_start(self) -> None:
        """Set the size from an empty latent, or the strength if there is an initial image."""

        def begins(node: Node) -> bool:
            return "width" in node.inputs and "height" in node.inputs and node.kind.startswith("Empty")

        strength = self._value("denoise")
        for node in self._graph.upstream(self._graph.behind(self._sampler, "latent_image"), links, begins):
            if begins(node):
                for name, ours in (("width", "width"), ("height", "height"), ("batch_size", "count")):
                    self._filling.put(ours, self._graph.value(node, name))
                return
            if "image" in node.inputs and node.kind.startswith("LoadImage"):
                self._filling.leave("init_image", self._graph.value(node, "image"), NOT_HELD)
                self._filling.put("strength", strength)
                return
        self._filling.leave("size", "", "It is made by nodes that are not read.")
