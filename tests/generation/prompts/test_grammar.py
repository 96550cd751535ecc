from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safelight.errors import PromptError
from safelight.generation.prompts import Segment, parse_prompt, prompt_phases, segments_at, unparse
from safelight.generation.prompts.grammar import MAX_DEPTH
from safelight.generation.prompts.tree import Alternation, Break, Emphasis, Node, Schedule, SwitchTime, Text

UP, DOWN = 1.1, 1 / 1.1


def parse_tree(text: str) -> tuple[Node, ...]:
    parsed = parse_prompt(text)
    assert parsed.text == text
    assert not parsed.notes
    return parsed.tree


def parse_weights(text: str) -> list[tuple[str, float]]:
    segments = segments_at(parse_prompt(text), 0, 10)
    return [(part.text, pytest.approx(part.weight)) for part in segments if isinstance(part, Segment)]


def resolve_steps(text: str, steps: int = 10) -> list[tuple[int, str]]:
    return [
        (phase.first_step, "".join(part.text for part in phase.segments if isinstance(part, Segment)))
        for phase in prompt_phases(parse_prompt(text), steps)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("a cat", (Text("a cat"),)),
        ("a: b | c", (Text("a: b | c"),)),
        ("(cat)", (Emphasis((Text("cat"),), UP),)),
        ("[cat]", (Emphasis((Text("cat"),), DOWN),)),
        ("(cat:1.3)", (Emphasis((Text("cat"),), 1.3),)),
        ("(cat: .5 )", (Emphasis((Text("cat"),), 0.5),)),
        ("(cat:2.)", (Emphasis((Text("cat"),), 2.0),)),
        ("(cat:+1)", (Emphasis((Text("cat"),), 1.0),)),
        ("(cat:0)", (Emphasis((Text("cat"),), 0.0),)),
        ("(a:b:1.2)", (Emphasis((Text("a:b"),), 1.2),)),
        ("(a|b)", (Emphasis((Text("a|b"),), UP),)),
        ("()", (Emphasis((), UP),)),
        ("[]", (Emphasis((), DOWN),)),
        ("a [b [c]]", (Text("a "), Emphasis((Text("b "), Emphasis((Text("c"),), DOWN)), DOWN))),
        ("[cat:dog:0.5]", (Schedule((Text("cat"),), (Text("dog"),), SwitchTime(0.5, is_fraction=True)),)),
        ("[cat:dog: 3 ]", (Schedule((Text("cat"),), (Text("dog"),), SwitchTime(3, is_fraction=False)),)),
        ("[cat:5]", (Schedule((), (Text("cat"),), SwitchTime(5, is_fraction=False)),)),
        ("[:cat:5]", (Schedule((), (Text("cat"),), SwitchTime(5, is_fraction=False)),)),
        ("[cat::5]", (Schedule((Text("cat"),), (), SwitchTime(5, is_fraction=False)),)),
        ("[::5]", (Schedule((), (), SwitchTime(5, is_fraction=False)),)),
        ("[16:9]", (Schedule((), (Text("16"),), SwitchTime(9, is_fraction=False)),)),
        ("[a|b|c]", (Alternation(((Text("a"),), (Text("b"),), (Text("c"),))),)),
        ("[a|]", (Alternation(((Text("a"),), ())),)),
        ("[16:9|4:3]", (Alternation(((Text("16:9"),), (Text("4:3"),))),)),
        ("[(a:2)|[b:3]]", (Alternation(((Emphasis((Text("a"),), 2.0),), parse_tree("[b:3]"))),)),
        ("[[a|b]:c:3]", (Schedule(parse_tree("[a|b]"), (Text("c"),), SwitchTime(3, is_fraction=False)),)),
        ("a BREAK b", (Text("a"), Break(), Text("b"))),
        ("a,\nBREAK\nb", (Text("a,"), Break(), Text("b"))),
        ("BREAK", (Break(),)),
        ("a BREAK BREAK b", (Text("a"), Break(), Break(), Text("b"))),
        ("(a BREAK b)", (Emphasis((Text("a"), Break(), Text("b")), UP),)),
        ("BREAKFAST", (Text("BREAKFAST"),)),
        ("break", (Text("break"),)),
        (r"\BREAK", (Text("BREAK"),)),
    ],
)
def test_the_meaning_of_prompts(text: str, expected: tuple[Node, ...]) -> None:
    assert parse_tree(text) == expected
    assert parse_prompt(unparse(expected)).tree == expected


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\(literal\]", "(literal]"),
        (r"\[a\:b\:3\]", "[a:b:3]"),
        (r"a \\ b", "a \\ b"),
        (r"\a\|", "a|"),
        ("at the end \\", "at the end \\"),
    ],
)
def test_an_escaped_character_is_literal(text: str, meant: str) -> None:
    assert parse_tree(text) == (Text(meant),)


def test_an_escape_inside_brackets() -> None:
    assert parse_tree(r"[16\:9:2]") == (Schedule((), (Text("16:9"),), SwitchTime(2, is_fraction=False)),)
    assert parse_tree(r"[a\|b|c]") == (Alternation(((Text("a|b"),), (Text("c"),))),)
    assert parse_tree(r"(\(a\):1.2)") == (Emphasis((Text("(a)"),), 1.2),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("((((a))))", [("a", 1.1**4)]),
        ("(a (b:1.5):2)", [("a ", 2), ("b", 3)]),
        ("(a [b]:2)", [("a ", 2), ("b", 2 / 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
    ],
)
def test_weights_equal_a1111s(text: str, expected: list[tuple[str, float]]) -> None:
    """The examples in the documentation of its parser, of which the last one's first bracket never closes."""
    assert parse_weights(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test", [(0, "test")]),
        ("a [b:3]", [(0, "a "), (3, "a b")]),
        ("a [b: 3]", [(0, "a "), (3, "a b")]),
        ("a [[[b]]:2]", [(0, "a "), (2, "a b")]),
        ("[(a:2):3]", [(0, ""), (3, "a")]),
        ("a [b : c : 1] d", [(0, "a b  d"), (1, "a  c  d")]),
        ("a[b:[c:d:2]:1]e", [(0, "abe"), (1, "ace"), (2, "ade")]),
        ("a [unbalanced", [(0, "a unbalanced")]),
        ("a [b:.5] c", [(0, "a  c"), (5, "a b c")]),
        ("((a][:b:c [d:3]", [(0, "a]:b:c "), (3, "a]:b:c d")]),
        ("[a|(b:1.1)]", [(step, "ab"[step % 2]) for step in range(10)]),
    ],
)
def test_schedules_equal_a1111s(text: str, expected: list[tuple[int, str]]) -> None:
    assert resolve_steps(text) == expected


@pytest.mark.parametrize(
    ("text", "expected", "note"),
    [
        (":) a", [(":) a", 1)], (1, "')' closes nothing: it is taken as text.")),
        ("a] b", [("a] b", 1)], (1, "']' closes nothing: it is taken as text.")),
        ("a (b", [("a ", 1), ("b", UP)], (2, "'(' is never closed: it works until the end.")),
        ("a [b", [("a ", 1), ("b", DOWN)], (2, "'[' is never closed: it works until the end.")),
        ("a [b:c:3", [("a ", 1), ("b:c:3", DOWN)], (2, "'[' is never closed: it works until the end.")),
        (
            "(a:nan)",
            [("a:nan", UP)],
            (0, "No number follows the ':' in round brackets: it is taken as text."),
        ),
        (
            "(a:1e3)",
            [("a:1e3", UP)],
            (0, "No number follows the ':' in round brackets: it is taken as text."),
        ),
        (
            "(a:1.2.3)",
            [("a:1.2.3", UP)],
            (0, "No number follows the ':' in round brackets: it is taken as text."),
        ),
        ("(a:)", [("a:", UP)], (0, "No number follows the ':' in round brackets: it is taken as text.")),
        ("[a:b]", [("a:b", DOWN)], (0, "This is no schedule ([from:to:when]): the ':' is taken as text.")),
        (
            "[a:b:inf]",
            [("a:b:inf", DOWN)],
            (0, "This is no schedule ([from:to:when]): the ':' is taken as text."),
        ),
        (
            "[a:b:c:5]",
            [("a:b:c:5", DOWN)],
            (0, "This is no schedule ([from:to:when]): the ':' is taken as text."),
        ),
        (
            "(a [b) c] d",
            [("a ", UP), ("b", 1), (" c", DOWN), (" d", 1)],
            (5, "')' overlaps another bracket: each weighs all that it encloses."),
        ),
        (
            "(a [b:2) c]",
            [("a ", 2), ("b", 2 * DOWN), (" c", DOWN)],
            (7, "')' overlaps another bracket: each weighs all that it encloses."),
        ),
        (
            "[a (b:2] c)",
            [("a ", DOWN), ("b:2", 1), (" c", UP)],
            (7, "']' overlaps another bracket: each weighs all that it encloses."),
        ),
        (
            "(a [b) c:3]",
            [("a ", UP), ("b", 1), (" c:3", DOWN)],
            (5, "')' overlaps another bracket: each weighs all that it encloses."),
        ),
        (
            "(a [b) c",
            [("a ", UP), ("b", 1), (" c", DOWN)],
            (5, "')' overlaps another bracket: each weighs all that it encloses."),
        ),
        ("[a:1.5]", [], (0, "1.5 is a share above 1: it speaks of a second pass.")),
    ],
)
def test_unbalanced_brackets_have_a_meaning_and_a_note(
    text: str, expected: list[tuple[str, float]], note: tuple[int, str]
) -> None:
    assert parse_weights(text) == [(words, pytest.approx(weight)) for words, weight in expected]
    assert [(each.position, each.message) for each in parse_prompt(text).notes] == [note]


@pytest.mark.parametrize(
    "text", ["(a:101)", "(a:-0.5)", "(a:999999999)", "((a:50):50)", "[x:(a:101):3]", "[b|(a:-1)]"]
)
def test_a_weight_out_of_range(text: str) -> None:
    with pytest.raises(PromptError, match="a weight is 0 to 100") as caught:
        parse_prompt(text)
    assert "negative prompt" in caught.value.hint


def test_nesting_is_limited() -> None:
    parse_prompt("(" * MAX_DEPTH)
    parse_prompt("[a" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(PromptError, match="nested deeper than 40 at character 40"):
        parse_prompt("[" * (MAX_DEPTH + 1))


def test_a_long_prompt_is_parsed_quickly() -> None:
    start = time.thread_time()
    for junk in ("(a:1.2) [b|c] :) \\( ", ")", "(a [b) c] ", "()", "a\\", " ", ":1", "BREAK "):
        parse_prompt(junk * 5000)
    assert (
        time.thread_time() - start < 20
    )  # CPU time of this thread: a second or two, however busy the machine is


def assert_valid(nodes: tuple[Node, ...]) -> None:
    """Weights are finite and not negative, texts are not empty and do not lie side by side."""
    for left, right in pairwise(nodes):
        assert not (isinstance(left, Text) and isinstance(right, Text))
    for node in nodes:
        match node:
            case Text(text):
                assert text
            case Emphasis(children, weight):
                assert 0 <= weight <= 100
                assert_valid(children)
            case Schedule(before, after):
                assert_valid(before)
                assert_valid(after)
            case Alternation(options):
                assert len(options) >= 2
                for option in options:
                    assert_valid(option)


pieces = st.sampled_from(
    ["(", ")", "[", "]", ":", "|", "\\", "1.2", "3", ".5", "-1", "a", " ", "BREAK", "_", "é", ","]
)
texts = st.text() | st.lists(pieces, max_size=40).map("".join)


@given(text=texts)
@example(r"\BREAK\ x")
@example(r"a BREAK\ x")
@example("[(a]b)c")
def test_parsed_prompts_round_trip(text: str) -> None:
    try:
        parsed = parse_prompt(text)
    except PromptError:
        return
    assert_valid(parsed.tree)
    again = parse_prompt(unparse(parsed.tree))
    assert again.tree == parsed.tree
    assert all("share above 1" in note.message for note in again.notes)
    assert [note.position for note in parsed.notes] == sorted(note.position for note in parsed.notes)
    assert all(0 <= note.position < len(text) for note in parsed.notes)


@given(text=st.text(st.characters(exclude_characters="\\()[]")).filter(lambda text: "BREAK" not in text))
def test_text_without_special_characters_is_unchanged(text: str) -> None:
    assert parse_tree(text) == ((Text(text),) if text else ())


@given(text=texts)
def test_any_text_can_be_escaped(text: str) -> None:
    written = unparse((Text(text),)) if text else ""
    assert parse_tree(written) == ((Text(text),) if text else ())
