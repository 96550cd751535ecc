"""ComfyUI graphs: nodes by number, whose inputs are values or links to other nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_NODES, MAX_LINKS = 5_000, 50_000
"""Limits of graphs that are read; the graphs people use have hundreds of nodes at most."""
MAX_LINK_DEPTH = 50
"""Number of links that are followed in a row to find a value."""
_VALUE_INPUTS = (
    "value",
    "seed",
    "noise_seed",
    "text",
    "string",
    "int",
    "float",
    "number",
    "Value",
    "Text",
    "String",
)
"""Input names of nodes that only provide a value."""


@dataclass(frozen=True)
class GraphNode:
    """A node of a graph.

    Args:
        id: Its number, which links refer to.
        class_type: Its class in ComfyUI.
        inputs: Values and links by name.
    """

    id: str
    class_type: str
    inputs: Mapping[str, Any] = field(repr=False)


class ComfyUIGraph:
    """A graph in ComfyUI's API format.

    Args:
        nodes: The nodes as parsed from JSON, by number.
    """

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = {
            number: GraphNode(number, node["class_type"], node["inputs"])
            for number, node in nodes.items()
            if _is_node(node)
        }

    @property
    def is_too_large(self) -> bool:
        """Whether it has more nodes or links than the limits allow."""
        nodes = self.nodes.values()
        return len(nodes) > MAX_NODES or sum(len(linked_inputs(node)) for node in nodes) > MAX_LINKS

    def linked_node(self, node: GraphNode | None, name: str) -> GraphNode | None:
        """Return the node that an input is linked to; None if it is a value or missing."""
        link = None if node is None else _linked_id(node.inputs.get(name))
        return None if link is None else self.nodes.get(link)

    def value(self, node: GraphNode | None, name: str) -> Any:
        """Return an input's value, following links to nodes that only provide a value; None if there is none."""
        for _ in range(MAX_LINK_DEPTH):
            if node is None or name not in node.inputs:
                return None
            if _linked_id(node.inputs[name]) is None:
                return node.inputs[name]
            node = self.linked_node(node, name)
            if node is not None and name not in node.inputs:
                name = next((each for each in _VALUE_INPUTS if each in node.inputs), name)
        return None

    def upstream(
        self,
        node: GraphNode | None,
        inputs: Callable[[GraphNode], list[str]],
        stop: Callable[[GraphNode], bool],
    ) -> Iterator[GraphNode]:
        """Yield a node and the nodes upstream of it, each once, breadth first.

        Args:
            node: The node to start from.
            inputs: Returns the names of a node's inputs to follow.
            stop: Returns whether to stop at a node.
        """
        waiting, seen = deque([node] if node is not None else []), set[str]()
        while waiting:
            here = waiting.popleft()
            if here.id in seen:
                continue
            seen.add(here.id)
            yield here
            if not stop(here):
                found = (self.linked_node(here, name) for name in inputs(here))
                waiting += [each for each in found if each is not None]

    def downstream(self, nodes: Iterable[GraphNode]) -> set[str]:
        """Return the numbers of nodes and of all nodes downstream of them.

        Args:
            nodes: The nodes to start from.
        """
        takers: dict[str | None, list[str]] = {}
        for node in self.nodes.values():
            for name in linked_inputs(node):
                takers.setdefault(_linked_id(node.inputs[name]), []).append(node.id)
        waiting, seen = [node.id for node in nodes], set[str]()
        while waiting:
            number = waiting.pop()
            if number not in seen:
                seen.add(number)
                waiting += takers.get(number, ())
        return seen


def is_graph(value: object) -> bool:
    """Whether a JSON value is a graph."""
    return isinstance(value, Mapping) and any(_is_node(node) for node in value.values())


def linked_inputs(node: GraphNode) -> list[str]:
    """Return the names of a node's inputs that are links."""
    return [name for name, value in node.inputs.items() if _linked_id(value) is not None]


def _is_node(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("class_type"), str)
        and isinstance(value.get("inputs"), Mapping)
    )


def _linked_id(value: object) -> str | None:
    """Return the number of the node that an input is linked to; None if it is a value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return str(value[0])
    return None
