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
    ParsedPrompt,
    ParseNote,
    Schedule,
    SwitchTime,
    Text,
)

MAX_DEPTH = 40
MAX_WEIGHT = 100.0

_TOKEN = re.compile(
    r"\\(?P<escaped>.?)|(?P<sign>[()\[\]:|])|(?P<break>\bBREAK\b)|(?P<words>(?:(?!\bBREAK\b)[^\\()\[\]:|])+)",
    re.DOTALL,
)
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}))\s*")
_OPENING = {")": "(", "]": "["}


def parse_prompt(text: str) -> ParsedPrompt:
    """Parse a prompt.

    Raises:
        PromptError: A weight, or the product of nested weights, is not between 0 and 100; or brackets are nested
            deeper than 40.
    """
    reader = _Parser()
    for token in _TOKEN.finditer(text):
        if token["sign"]:
            reader.add_sign(token["sign"], token.start())
        elif token["break"]:
            reader.add(Break())
        else:
            reader.add(Text(token["words"] or token["escaped"] or "\\", *token.span()))
    tree = reader.finish()
    _check_weights(tree, 1.0)
    return ParsedPrompt(text, tree, tuple(sorted(reader.notes, key=lambda note: note.position)))


@dataclass(frozen=True, slots=True)
class _Separator:
    """A colon or a bar; its meaning is known only when its bracket closes."""

    character: str
    at: int = field(default=0, compare=False)


_Item = Node | _Separator


@dataclass(slots=True)
class _Frame:
    """An open bracket and the items after it."""

    bracket: str
    at: int
    items: list[_Item] = field(default_factory=list)
    reopened: bool = False  # reopened after an overlapping bracket was closed


class _Parser:
    """The parser's state: the stack of open brackets, and the notes so far."""

    def __init__(self) -> None:
        self.notes: list[ParseNote] = []
        self._stack = [_Frame("", 0)]

    def add(self, item: _Item) -> None:
        self._stack[-1].items.append(item)

    def add_sign(self, sign: str, at: int) -> None:
        if sign in "([":
            self._open(sign, at)
        elif sign in ")]":
            self._close(sign, at)
        else:
            self.add(_Separator(sign, at))

    def finish(self) -> tuple[Node, ...]:
        for frame in self._stack[1:]:
            if not frame.reopened:
                self._note(frame.at, f"{frame.bracket!r} is never closed: it works until the end.")
        while len(self._stack) > 1:
            self._close_innermost()
        return _normalize(self._stack[0].items)

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
            self.add(self._round_node(frame) if sign == ")" else self._square_node(frame))
        else:
            self._close_overlapping(index, sign, at)

    def _matching(self, bracket: str) -> int | None:
        found = (i for i in range(len(self._stack) - 1, 0, -1) if self._stack[i].bracket == bracket)
        return next(found, None)

    def _close_overlapping(self, index: int, sign: str, at: int) -> None:
        """Close a bracket below others in the stack and reopen those: (a [b) c] is (a [b])[ c]."""
        self._note(at, f"{sign!r} overlaps another bracket: each weighs all that it encloses.")
        weight = _default_weight(_OPENING[sign])
        if sign == ")" and (tail := _trailing_number(self._stack[-1].items)):
            self._stack[-1].items, weight = tail[0], float(tail[1])
        going_on = [_Frame(frame.bracket, frame.at, reopened=True) for frame in self._stack[index + 1 :]]
        while len(self._stack) > index + 1:
            self._close_innermost()
        frame = self._stack.pop()
        self.add(Emphasis(_normalize(frame.items), weight))
        self._stack += going_on

    def _close_innermost(self) -> None:
        """Close the innermost open bracket as a plain emphasis of its items so far."""
        frame = self._stack.pop()
        if children := _normalize(frame.items):
            self.add(Emphasis(children, _default_weight(frame.bracket)))

    def _round_node(self, frame: _Frame) -> Node:
        if tail := _trailing_number(frame.items):
            return Emphasis(_normalize(tail[0]), float(tail[1]))
        if _Separator(":") in frame.items:
            self._note(frame.at, "No number follows the ':' in round brackets: it is taken as text.")
        return Emphasis(_normalize(frame.items), EMPHASIS)

    def _square_node(self, frame: _Frame) -> Node:
        plain = Emphasis(_normalize(frame.items), 1 / EMPHASIS)
        if frame.reopened:
            return plain
        if _Separator("|") in frame.items:
            return Alternation(tuple(_normalize(option) for option in _split_at(frame.items, "|")))
        if (tail := _trailing_number(frame.items)) and len(parts := _split_at(tail[0], ":")) <= 2:
            before, after = [(), *map(_normalize, parts)][-2:]
            return Schedule(before, after, self._switch_time(tail[1], frame.at))
        if _Separator(":") in frame.items:
            self._note(frame.at, "This is no schedule ([from:to:when]): the ':' is taken as text.")
        return plain

    def _switch_time(self, number: str, at: int) -> SwitchTime:
        when = SwitchTime(float(number), is_fraction="." in number)
        if when.is_fraction and when.value > 1:
            self._note(at, f"{number} is a share above 1: it speaks of a second pass.")
        return when

    def _note(self, at: int, message: str) -> None:
        self.notes.append(ParseNote(at, message))


def _default_weight(bracket: str) -> float:
    return EMPHASIS if bracket == "(" else 1 / EMPHASIS


def _trailing_number(items: Sequence[_Item]) -> tuple[list[_Item], str] | None:
    """Split items at the last colon into the items before it and the number after it; None if no number follows."""
    tail = ""
    for index in range(len(items) - 1, -1, -1):
        match items[index]:
            case Text(text) if len(tail) < 100:
                tail = text + tail
            case _Separator(":") if number := _NUMBER.fullmatch(tail):
                return list(items[:index]), number[1]
            case _:
                return None
    return None


def _split_at(items: Sequence[_Item], sign: str) -> list[list[_Item]]:
    parts: list[list[_Item]] = [[]]
    for item in items:
        if item == _Separator(sign):
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


def _normalize(items: Sequence[_Item]) -> tuple[Node, ...]:
    """Turn separators into text, join adjacent texts, and strip white space around breaks."""
    return tuple(_iter_normalized(items))


def _iter_normalized(items: Sequence[_Item]) -> Iterator[Node]:
    run: list[Text] = []
    after_break = False
    for item in items:
        if isinstance(item, Text | _Separator):
            run.append(item if isinstance(item, Text) else Text(item.character, item.at, item.at + 1))
            continue
        yield from _join_texts(run, after_break, isinstance(item, Break))
        yield item
        run, after_break = [], isinstance(item, Break)
    yield from _join_texts(run, after_break, before_break=False)


def _join_texts(run: Sequence[Text], after_break: bool, before_break: bool) -> Iterator[Text]:
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
