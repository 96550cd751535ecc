"""ComfyUI graphs: nodes by number, whose inputs are values or links to other nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_NODES, MOST_LINKS = 5_000, 50_000
"""Limits of graphs that are read; the graphs people use have hundreds of nodes at most."""
DEEPEST = 50
"""Number of links that are followed in a row to find a value."""
_VALUES = (
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
class Node:
    """A node of a graph.

    Args:
        number: Its number, which links refer to.
        kind: Its class in ComfyUI.
        inputs: Values and links by name.
    """

    number: str
    kind: str
    inputs: Mapping[str, Any] = field(repr=False)


class Graph:
    """A graph in ComfyUI's API format.

    Args:
        nodes: The nodes as parsed from JSON, by number.
    """

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = {
            number: Node(number, node["class_type"], node["inputs"])
            for number, node in nodes.items()
            if _is_node(node)
        }

    @property
    def is_too_large(self) -> bool:
        """Whether it has more nodes or links than the limits allow."""
        nodes = self.nodes.values()
        return len(nodes) > MOST_NODES or sum(len(links(node)) for node in nodes) > MOST_LINKS

    def behind(self, node: Node | None, name: str) -> Node | None:
        """Return the node that an input is linked to; None if it is a value or missing."""
        link = None if node is None else _link(node.inputs.get(name))
        return None if link is None else self.nodes.get(link)

    def value(self, node: Node | None, name: str) -> Any:
        """Return an input's value, following links to nodes that only provide a value; None if there is none."""
        for _ in range(DEEPEST):
            if node is None or name not in node.inputs:
                return None
            if _link(node.inputs[name]) is None:
                return node.inputs[name]
            node = self.behind(node, name)
            if node is not None and name not in node.inputs:
                name = next((each for each in _VALUES if each in node.inputs), name)
        return None

    def upstream(
        self, node: Node | None, names: Callable[[Node], list[str]], stop: Callable[[Node], bool]
    ) -> Iterator[Node]:
        """Yield a node and the nodes upstream of it, each once, breadth first.

        Args:
            node: The node to start from.
            names: Returns the names of a node's inputs to follow.
            stop: Returns whether to stop at a node.
        """
        waiting, seen = deque([node] if node is not None else []), set[str]()
        while waiting:
            here = waiting.popleft()
            if here.number in seen:
                continue
            seen.add(here.number)
            yield here
            if not stop(here):
                found = (self.behind(here, name) for name in names(here))
                waiting += [each for each in found if each is not None]

    def downstream(self, nodes: Iterable[Node]) -> set[str]:
        """Return the numbers of nodes and of all nodes downstream of them.

        Args:
            nodes: The nodes to start from.
        """
        takers: dict[str | None, list[str]] = {}
        for node in self.nodes.values():
            for name in links(node):
                takers.setdefault(_link(node.inputs[name]), []).append(node.number)
        waiting, seen = [node.number for node in nodes], set[str]()
        while waiting:
            number = waiting.pop()
            if number not in seen:
                seen.add(number)
                waiting += takers.get(number, ())
        return seen


def is_graph(value: object) -> bool:
    """Whether a JSON value is a graph."""
    return isinstance(value, Mapping) and any(_is_node(node) for node in value.values())


def links(node: Node) -> list[str]:
    """Return the names of a node's inputs that are links."""
    return [name for name, value in node.inputs.items() if _link(value) is not None]


def _is_node(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("class_type"), str)
        and isinstance(value.get("inputs"), Mapping)
    )


def _link(value: object) -> str | None:
    """Return the number of the node that an input is linked to; None if it is a value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return str(value[0])
    return None
