r"""Parse a prompt into a tree, in one pass; unbalanced brackets are not an error.

The grammar is that of AUTOMATIC1111's web UI (its wiki, "Features": attention, prompt editing, alternating words)::

    prompt      = { part }
    part        = words | "BREAK" | emphasis | schedule | alternation
    emphasis    = "(" prompt ")" | "(" prompt ":" weight ")" | "[" prompt "]"
    schedule    = "[" [ prompt ":" ] prompt ":" when "]"
    alternation = "[" prompt "|" prompt { "|" prompt } "]"
    escape      = "\" any character, which is then plain text

Unbalanced brackets are accepted, since people paste prompts that contain ``:)``: a closing bracket without an opening
one is text; an unclosed bracket applies until the end; brackets that overlap, as in ``(a [b) c]``, each apply to
everything they enclose. Each of these cases adds a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from safelight.errors import PromptError
from safelight.generation.prompts.tree import (
    EMPHASIS,
    Alternation,
    Break,
    Emphasis,
    Node,
    Note,
    ParsedPrompt,
    Schedule,
    Text,
    When,
)

MAX_DEPTH = 40
MAX_WEIGHT = 100.0

_TOKEN = re.compile(
    r"\\(?P<escaped>.?)|(?P<sign>[()\[\]:|])|(?P<break>\bBREAK\b)|(?P<words>(?:(?!\bBREAK\b)[^\\()\[\]:|])+)",
    re.DOTALL,
)
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}))\s*")
_OPENING = {")": "(", "]": "["}


def parse(text: str) -> ParsedPrompt:
    """Parse a prompt.

    Raises:
        PromptError: A weight, or the product of nested weights, is not between 0 and 100; or brackets are nested
            deeper than 40.
    """
    reader = _Reader()
    for token in _TOKEN.finditer(text):
        if token["sign"]:
            reader.sign(token["sign"], token.start())
        elif token["break"]:
            reader.add(Break())
        else:
            reader.add(Text(token["words"] or token["escaped"] or "\\", *token.span()))
    tree = reader.end()
    _check_weights(tree, 1.0)
    return ParsedPrompt(text, tree, tuple(sorted(reader.notes, key=lambda note: note.at)))


@dataclass(frozen=True, slots=True)
class _Sign:
    """A colon or a bar; its meaning is known only when its bracket closes."""

    sign: str
    at: int = field(default=0, compare=False)


_Item = Node | _Sign


@dataclass(slots=True)
class _Frame:
    """An open bracket and the items after it."""

    bracket: str
    at: int
    items: list[_Item] = field(default_factory=list)
    goes_on: bool = False  # reopened after an overlapping bracket was closed


class _Reader:
    """The parser's state: the stack of open brackets, and the notes so far."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._stack = [_Frame("", 0)]

    def add(self, item: _Item) -> None:
        self._stack[-1].items.append(item)

    def sign(self, sign: str, at: int) -> None:
        if sign in "([":
            self._open(sign, at)
        elif sign in ")]":
            self._close(sign, at)
        else:
            self.add(_Sign(sign, at))

    def end(self) -> tuple[Node, ...]:
        for frame in self._stack[1:]:
            if not frame.goes_on:
                self._note(frame.at, f"{frame.bracket!r} is never closed: it works until the end.")
        while len(self._stack) > 1:
            self._fold()
        return _settled(self._stack[0].items)

    def _open(self, bracket: str, at: int) -> None:
        if len(self._stack) > MAX_DEPTH:
            raise PromptError(f"Brackets are nested deeper than {MAX_DEPTH} at character {at}.")
        self._stack.append(_Frame(bracket, at))

    def _close(self, sign: str, at: int) -> None:
        index = self._matching(_OPENING[sign])
        if index is None:
            self._note(at, f"{sign!r} closes nothing: it is taken as text.")
            self.add(Text(sign, at, at + 1))
        elif index == len(self._stack) - 1:
            frame = self._stack.pop()
            self.add(self._round(frame) if sign == ")" else self._square(frame))
        else:
            self._close_overlapping(index, sign, at)

    def _matching(self, bracket: str) -> int | None:
        found = (i for i in range(len(self._stack) - 1, 0, -1) if self._stack[i].bracket == bracket)
        return next(found, None)

    def _close_overlapping(self, index: int, sign: str, at: int) -> None:
        """Close a bracket below others in the stack and reopen those: (a [b) c] is (a [b])[ c]."""
        self._note(at, f"{sign!r} overlaps another bracket: each weighs all that it encloses.")
        weight = _default_weight(_OPENING[sign])
        if sign == ")" and (tail := _number_at_end(self._stack[-1].items)):
            self._stack[-1].items, weight = tail[0], float(tail[1])
        going_on = [_Frame(frame.bracket, frame.at, goes_on=True) for frame in self._stack[index + 1 :]]
        while len(self._stack) > index + 1:
            self._fold()
        frame = self._stack.pop()
        self.add(Emphasis(_settled(frame.items), weight))
        self._stack += going_on

    def _fold(self) -> None:
        """Close the innermost open bracket as a plain emphasis of its items so far."""
        frame = self._stack.pop()
        if children := _settled(frame.items):
            self.add(Emphasis(children, _default_weight(frame.bracket)))

    def _round(self, frame: _Frame) -> Node:
        if tail := _number_at_end(frame.items):
            return Emphasis(_settled(tail[0]), float(tail[1]))
        if _Sign(":") in frame.items:
            self._note(frame.at, "No number follows the ':' in round brackets: it is taken as text.")
        return Emphasis(_settled(frame.items), EMPHASIS)

    def _square(self, frame: _Frame) -> Node:
        plain = Emphasis(_settled(frame.items), 1 / EMPHASIS)
        if frame.goes_on:
            return plain
        if _Sign("|") in frame.items:
            return Alternation(tuple(_settled(option) for option in _split(frame.items, "|")))
        if (tail := _number_at_end(frame.items)) and len(parts := _split(tail[0], ":")) <= 2:
            before, after = [(), *map(_settled, parts)][-2:]
            return Schedule(before, after, self._when(tail[1], frame.at))
        if _Sign(":") in frame.items:
            self._note(frame.at, "This is no schedule ([from:to:when]): the ':' is taken as text.")
        return plain

    def _when(self, number: str, at: int) -> When:
        when = When(float(number), share="." in number)
        if when.share and when.value > 1:
            self._note(at, f"{number} is a share above 1: it speaks of a second pass.")
        return when

    def _note(self, at: int, message: str) -> None:
        self.notes.append(Note(at, message))


def _default_weight(bracket: str) -> float:
    return EMPHASIS if bracket == "(" else 1 / EMPHASIS


def _number_at_end(items: Sequence[_Item]) -> tuple[list[_Item], str] | None:
    """Split items at the last colon into the items before it and the number after it; None if no number follows."""
    tail = ""
    for index in range(len(items) - 1, -1, -1):
        match items[index]:
            case Text(text) if len(tail) < 100:
                tail = text + tail
            case _Sign(":") if number := _NUMBER.fullmatch(tail):
                return list(items[:index]), number[1]
            case _:
                return None
    return None


def _split(items: Sequence[_Item], sign: str) -> list[list[_Item]]:
    parts: list[list[_Item]] = [[]]
    for item in items:
        if item == _Sign(sign):
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def _settled(items: Sequence[_Item]) -> tuple[Node, ...]:
    """Turn separators into text, join adjacent texts, and strip white space around breaks."""
    return tuple(_settle(items))


def _settle(items: Sequence[_Item]) -> Iterator[Node]:
    run: list[Text] = []
    after_break = False
    for item in items:
        if isinstance(item, Text | _Sign):
            run.append(item if isinstance(item, Text) else Text(item.sign, item.at, item.at + 1))
            continue
        yield from _joined(run, after_break, isinstance(item, Break))
        yield item
        run, after_break = [], isinstance(item, Break)
    yield from _joined(run, after_break, before_break=False)


def _joined(run: Sequence[Text], after_break: bool, before_break: bool) -> Iterator[Text]:
    text = "".join(part.text for part in run)
    text = text.lstrip() if after_break else text
    text = text.rstrip() if before_break else text
    if text:
        yield Text(text, run[0].start, run[-1].end)


def _check_weights(nodes: Sequence[Node], outer: float) -> None:
    for node in nodes:
        match node:
            case Emphasis(children, weight):
                _check_weight(weight)
                _check_weight(outer * weight)
                _check_weights(children, outer * weight)
            case Schedule(before, after):
                _check_weights((*before, *after), outer)
            case Alternation(options):
                for option in options:
                    _check_weights(option, outer)
            case _:
                pass


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= MAX_WEIGHT:
        raise PromptError(
            f"A part of the prompt has the weight {weight:g}; a weight is 0 to {MAX_WEIGHT:g}.",
            hint="Nested weights multiply. What should not be there belongs in the negative prompt.",
        )
