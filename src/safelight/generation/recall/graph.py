"""ComfyUI's graphs: nodes by number, whose inputs are values or links to other nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_NODES, MOST_LINKS = 5_000, 50_000
"""How large the graphs are that are read; what people draw with has hundreds of nodes at most."""
DEEPEST = 50
"""How many links in a row a value is looked for behind."""
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
"""What nodes call the value that they do nothing but give."""


@dataclass(frozen=True)
class Node:
    """One step of a graph.

    Args:
        number: What links call it.
        kind: Its class.
        inputs: Values and links by name.
    """

    number: str
    kind: str
    inputs: Mapping[str, Any] = field(repr=False)


class Graph:
    """A graph in the layout that ComfyUI's API takes.

    Args:
        nodes: As they came, by number.
    """

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = {
            number: Node(number, node["class_type"], node["inputs"])
            for number, node in nodes.items()
            if _is_node(node)
        }

    @property
    def is_too_large(self) -> bool:
        """Whether it has more nodes or links than are read."""
        nodes = self.nodes.values()
        return len(nodes) > MOST_NODES or sum(len(links(node)) for node in nodes) > MOST_LINKS

    def behind(self, node: Node | None, name: str) -> Node | None:
        """The node that an input is linked to; None where it is a value, or nothing."""
        link = None if node is None else _link(node.inputs.get(name))
        return None if link is None else self.nodes.get(link)

    def value(self, node: Node | None, name: str) -> Any:
        """An input's value, looked for behind links to nodes that only give one; None where there is none."""
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
        """A node and those behind it, each once, the nearest first.

        Args:
            node: Where to begin.
            names: Which of a node's inputs to follow.
            stop: Behind which not to go on.
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
        """The numbers of some nodes, and of all that take anything from them, over however many links.

        Args:
            nodes: Where to begin.
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
    """Whether JSON is a graph."""
    return isinstance(value, Mapping) and any(_is_node(node) for node in value.values())


def links(node: Node) -> list[str]:
    """The inputs of a node that are links."""
    return [name for name, value in node.inputs.items() if _link(value) is not None]


def _is_node(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("class_type"), str)
        and isinstance(value.get("inputs"), Mapping)
    )


def _link(value: object) -> str | None:
    """The number of the node that an input is linked to; None where it is a value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return str(value[0])
    return None
