r"""Expand wildcards (``__file__``) and variants (``{a|b}``) in a prompt.

Expansion comes before parsing (``grammar``), and a backslash has the same meaning: ``\{`` is a brace.

    __animals__           a line of animals.txt; __plants/trees__ one of plants/trees.txt
    {a|b|c}               one of them; an option may be empty, or contain wildcards and nested braces
    {0.3::a|b} {a:.6|b}   with weights; the default is 1
    {2$$a|b|c}            two different ones, joined with ", "
    {1-2$$ and $$a|b|c}   one or two, joined with " and "
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import PromptError, WildcardError

MAX_DEPTH = 40
MAX_WILDCARDS = 1000

_DIGITS = r"[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}"
_WILDCARD = re.compile(r"__(?!_)(?P<name>[^\s{}|,()\[\]\\:$]{1,200}?)__")
_ESCAPE_OR_WILDCARD = re.compile(rf"\\.|{_WILDCARD.pattern}", re.DOTALL)
_CHOICE_COUNT = re.compile(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\$\$(?:([^$|{}\[\]\\]*)\$\$)?")
_WEIGHT_BEFORE = re.compile(rf"\s*({_DIGITS})::(.*)", re.DOTALL)
_WEIGHT_AFTER = re.compile(rf"((?:\\.|[^\\])*?):\s*({_DIGITS})\s*", re.DOTALL)


def expand_wildcards(text: str, seed: int, folder: Path | None) -> str:
    """Expand a prompt; expanding the result again changes nothing.

    Args:
        text: The prompt. Unbalanced braces are text, and so is text between two pairs of underscores that cannot be a
            wildcard's name.
        seed: Seed of the choices: the same text, seed and files give the same result on every machine.
        folder: Folder of the wildcard files: UTF-8, one choice per line, which may start with its weight
            (``0.3::red``); empty lines and lines that start with # are ignored.

    Raises:
        WildcardError: A wildcard has no file or its file no choice, a name points outside the folder, or wildcards
            reference each other endlessly.
        PromptError: More different options are requested than there are, all weights are 0, or braces are nested too
            deep.
    """
    return _escape_choices(_Expander(seed, folder).expand(text, ()))


def wildcard_names(text: str) -> list[str]:
    """Return the names of a prompt's wildcards, without duplicates, in order; nested wildcards are not included."""
    found = (match["name"] for match in _ESCAPE_OR_WILDCARD.finditer(text))
    return list(dict.fromkeys(name for name in found if name))


def missing_wildcards(names: Sequence[str], folder: Path) -> list[str]:
    """Those of a prompt's wildcards that have no file."""
    expander = _Expander(0, folder)
    return [name for name in names if not expander.has_file(name)]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A file of choices.

    Attributes:
        name: The name in a prompt, between two pairs of underscores.
        lines: Number of choices.
    """

    name: str
    lines: int


def find_wildcards(folder: Path) -> list[Wildcard]:
    """Find the wildcards of a folder and its subfolders, sorted by name; unusable names and files are left out."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in files if name.endswith(".txt")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if wildcard_names(f"__{name}__") == [name] and (lines := _count_choices(path)):
                found.append(Wildcard(name, lines))
    return sorted(found, key=lambda wildcard: wildcard.name)


def _count_choices(path: Path) -> int:
    """Return the number of choices in a file; 0 if it cannot be read."""
    try:
        return len(_parse_choices(path.read_text("utf-8-sig")))
    except (OSError, ValueError):
        return 0


def _parse_choices(text: str) -> list[_Option]:
    lines = (line.strip() for line in text.splitlines())
    options = [_parse_line(line) for line in lines if line and not line.startswith("#")]
    return [option for option in options if option.weight > 0]


@dataclass(frozen=True, slots=True)
class _Option:
    text: str
    weight: float


class _Expander:
    """The state of one expansion: the random numbers, and the files read so far."""

    def __init__(self, seed: int, folder: Path | None) -> None:
        self._random = random.Random(seed)  # noqa: S311  choices must be reproducible, not secret
        self._folder = folder
        self._files: dict[str, list[_Option]] = {}
        self._wildcard_count = 0

    def expand(self, text: str, chain: tuple[str, ...]) -> str:
        """Expand a text; ``chain`` lists the wildcards and braces that it came from."""
        if len(chain) > MAX_DEPTH:
            raise _depth_error(chain)
        pairs, done, at = _bracket_pairs(text), [], 0
        while at < len(text):
            if text[at] == "{" and at in pairs:
                done.append(self._expand_variant(text[at + 1 : pairs[at]], chain))
                at = pairs[at] + 1
            elif wildcard := _WILDCARD.match(text, at):
                done.append(self._expand_wildcard(wildcard[1], chain))
                at = wildcard.end()
            else:
                length = 2 if text[at] == "\\" else 1
                done.append(text[at : at + length])
                at += length
        return "".join(done)

    def _expand_variant(self, inside: str, chain: tuple[str, ...]) -> str:
        least, most, joiner, start = 1, 1, ", ", 0
        if count := _CHOICE_COUNT.match(inside):
            least, most = int(count[1]), int(count[2] or count[1])
            joiner, start = ", " if count[3] is None else count[3], count.end()
        options = [_parse_variant_option(option) for option in _split_options(inside[start:])]
        chosen = self._choose(options, least, most, inside)
        return joiner.join(self.expand(option.text, (*chain, "{}")) for option in chosen)

    def _choose(self, options: list[_Option], least: int, most: int, inside: str) -> list[_Option]:
        possible = [option for option in options if option.weight > 0]
        if not least <= most <= len(possible):
            raise PromptError(
                f"{{{inside[:80]}}} asks for {least if least == most else f'{least} to {most}'} "
                f"of {len(possible)} options.",
                hint="Ask for no more than there are; an option of weight 0 is none.",
            )
        return [
            possible.pop(self._choose_index(possible))
            for _ in range(least + int(self._random_fraction() * (most - least + 1)))
        ]

    def _choose_index(self, options: Sequence[_Option]) -> int:
        left = self._random_fraction() * sum(option.weight for option in options)
        for index, option in enumerate(options):
            left -= option.weight
            if left < 0:
                return index
        return len(options) - 1  # reached only if the sum was rounded up

    def _random_fraction(self) -> float:
        """Return a number in [0, 1); ``random()`` is the only method whose sequence Python guarantees to keep."""
        return self._random.random()

    def _expand_wildcard(self, name: str, chain: tuple[str, ...]) -> str:
        self._wildcard_count += 1
        if self._wildcard_count > MAX_WILDCARDS:
            raise WildcardError(f"The prompt comes to more than {MAX_WILDCARDS} wildcards.")
        if name not in self._files:
            self._files[name] = self._read_choices(name)
        options = self._files[name]
        return self.expand(options[self._choose_index(options)].text, (*chain, name))

    def has_file(self, name: str) -> bool:
        """Whether a wildcard has a file; what is in it is not read."""
        try:
            return self._path(name).is_file()
        except (WildcardError, OSError, ValueError):
            return False

    def _read_choices(self, name: str) -> list[_Option]:
        try:
            possible = _parse_choices(self._path(name).read_text("utf-8-sig"))
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name that cannot be a file's
            raise WildcardError(
                f"There is no wildcard file for __{name}__ that can be read.", context={"name": name}
            ) from error
        if not possible:
            raise WildcardError(
                f"The file of the wildcard __{name}__ has nothing to choose from.", context={"name": name}
            )
        return possible

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if self._folder is None:
            raise WildcardError(f"There is no folder of wildcards to look for __{name}__ in.")
        if any(part in ("", ".", "..") for part in parts):
            raise WildcardError(
                f"__{name}__ is no name of a wildcard: it would leave the folder of wildcards."
            )
        return self._folder.joinpath(*parts[:-1], f"{parts[-1]}.txt")


def _escape_choices(text: str) -> str:
    """Escape text that only looks like a choice after expansion, such as __cat__ from __{cat|dog}__."""
    braces = {at for pair in _bracket_pairs(text).items() for at in pair if text[at] in "{}"}
    done, at = [], 0
    while at < len(text):
        length = 2 if text[at] == "\\" else 1
        if at in braces or _WILDCARD.match(text, at):
            done.append("\\")
        done.append(text[at : at + length])
        at += length
    return "".join(done)


def _depth_error(chain: tuple[str, ...]) -> PromptError:
    names = [name for name in chain if name != "{}"]
    if not names:
        return PromptError(f"Braces are nested deeper than {MAX_DEPTH}.")
    return WildcardError(f"Wildcards go on naming each other: {' > '.join(names[:6])} …")


def _bracket_pairs(text: str) -> dict[int, int]:
    """Map the position of each opening brace and square bracket to its closing one; a brace closes open brackets."""
    pairs: dict[int, int] = {}
    still_open: list[int] = []
    braces = 0
    for match in re.finditer(r"\\.|[{}\[\]]", text, re.DOTALL):
        sign, at = match[0], match.start()
        if sign in "{[":
            still_open.append(at)
            braces += sign == "{"
        elif sign == "}" and braces:
            while text[still_open[-1]] != "{":
                still_open.pop()
            pairs[still_open.pop()] = at
            braces -= 1
        elif sign == "]" and still_open and text[still_open[-1]] == "[":
            pairs[still_open.pop()] = at
    return pairs


def _split_options(inside: str) -> list[str]:
    """Split options at bars, except at bars inside nested braces or square brackets."""
    pairs, options, start, at = _bracket_pairs(inside), [], 0, 0
    while at < len(inside):
        if inside[at] == "|":
            options.append(inside[start:at])
            start = at + 1
        at = pairs.get(at, at + (inside[at] == "\\")) + 1
    return [*options, inside[start:]]


def _parse_variant_option(text: str) -> _Option:
    if _WEIGHT_BEFORE.fullmatch(text):
        return _parse_line(text)
    if after := _WEIGHT_AFTER.fullmatch(text):
        return _Option(after[1].strip(), float(after[2]))
    return _Option(text.strip(), 1.0)


def _parse_line(text: str) -> _Option:
    if before := _WEIGHT_BEFORE.fullmatch(text):
        return _Option(before[2].strip(), float(before[1]))
    return _Option(text, 1.0)
