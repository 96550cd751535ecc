from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import FileMissingError, PolicyError, PolicyLabelError
from safelight.moderation import PRESETS, Decision, Policy
from safelight.moderation.policy import Thresholds

FILE = """\
name = "mine"
version = "3"
description = "for a test"
abstain = 0.05
safe = ["SFW", "Neutral"]
[unsafe]
NSFW = { review = 0.4, block = 0.8 }
porn = { review = 0.2, block = 0.6 }
"""

unit = st.floats(0, 1)


def policy(
    review: float = 0.4, block: float = 0.8, abstain: float = 0.0, *, label: str = "nsfw", safe: str = "sfw"
) -> Policy:
    thresholds = Thresholds(review=review, block=block)
    return Policy(name="t", version="1", abstain=abstain, unsafe={label: thresholds}, safe=frozenset({safe}))


policies = st.builds(
    lambda pair, abstain: policy(min(pair), max(pair), abstain), st.tuples(unit, unit), st.floats(0, 0.5)
)


def test_severity_orders_decisions() -> None:
    assert [d.severity for d in (Decision.ALLOW, Decision.REVIEW, Decision.BLOCK)] == [0, 1, 2]
    assert [str(d) for d in Decision] == ["allow", "review", "block"]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("strict", "1bb05f8033bbcc23b057f1206d6d74f91e3be3baf79d64efa69f02b1af181a64"),
        ("standard", "77c31678bd29051c5494909fb07d3775096258a0366d6faf43f31eea739032f9"),
        ("lenient", "6e82fd116b97b1055d79f093d915447d80440e25b309545db0db14679d3bc2c2"),
    ],
)
def test_a_presets_digest_changes_only_with_its_version(name: str, digest: str) -> None:
    preset = Policy.load(name)
    assert (preset.name, preset.version, preset.digest) == (name, "1", digest)


def test_presets_have_the_labels_of_both_classifiers() -> None:
    for name in PRESETS:
        preset = Policy.load(name)
        preset.check_labels(("sfw", "nsfw"))
        preset.check_labels(("NSFW", "SFW"))
        preset.check_labels(("drawings", "hentai", "neutral", "porn", "sexy"))


@given(score=unit)
def test_presets_are_ordered_from_strict_to_lenient(score: float) -> None:
    scores = {"sfw": 1 - score, "nsfw": score}
    severities = [Policy.load(name).decide(scores).severity for name in ("strict", "standard", "lenient")]
    assert severities == sorted(severities, reverse=True)


@pytest.mark.parametrize(
    ("score", "decision"),
    [
        (0.0, "allow"),
        (0.3999, "allow"),
        (0.4, "review"),
        (0.75, "review"),
        (0.7501, "review"),
        (0.8, "review"),
        (0.8499, "review"),
        (0.8501, "block"),
        (1.0, "block"),
    ],
)
def test_standard_thresholds(score: float, decision: str) -> None:
    assert Policy.load("standard").decide({"sfw": 1 - score, "nsfw": score}) == decision


@pytest.mark.parametrize(
    ("score", "decision"), [(0.39, "allow"), (0.4, "review"), (0.799, "review"), (0.8, "block")]
)
def test_thresholds_are_inclusive(score: float, decision: str) -> None:
    assert policy().decide({"nsfw": score}) == decision


@pytest.mark.parametrize(
    ("score", "decision"),
    [(0.49, "allow"), (0.51, "review"), (0.6, "review"), (0.69, "review"), (0.71, "block")],
)
def test_scores_within_the_band_are_for_review(score: float, decision: str) -> None:
    """Also below the threshold for review."""
    assert policy(review=0.6, block=0.6, abstain=0.1).decide({"nsfw": score}) == decision


@given(policy=policies, one=unit, other=unit)
def test_decisions_are_monotonic_in_the_score(policy: Policy, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert policy.decide({"nsfw": low}).severity <= policy.decide({"nsfw": high}).severity


@given(policy=policies, score=unit)
def test_the_band_only_adds_reviews(policy: Policy, score: float) -> None:
    certain = policy.model_copy(update={"abstain": 0.0}).decide({"nsfw": score})
    doubtful = policy.decide({"nsfw": score})
    assert doubtful in (certain, Decision.REVIEW)
    if abs(score - policy.unsafe["nsfw"].block) > policy.abstain:
        assert doubtful == certain


@given(scores=st.lists(unit, min_size=5, max_size=5))
def test_the_worst_label_decides_and_unsafe_labels_add_up(scores: list[float]) -> None:
    labels = ("drawings", "hentai", "neutral", "porn", "sexy")
    by_name = dict(zip(labels, scores, strict=True))
    standard = Policy.load("standard")
    alone = [standard.decide({label: score}).severity for label, score in by_name.items()]
    assert standard.decide(by_name).severity == max(alone)
    expected = min(1.0, by_name["hentai"] + by_name["porn"] + by_name["sexy"])
    assert standard.unsafe_score(by_name) == pytest.approx(expected)


@given(order=st.permutations(("drawings", "hentai", "neutral", "porn", "sexy")), scores=st.data())
def test_the_order_of_labels_has_no_effect(order: list[str], scores: st.DataObject) -> None:
    values = {label: scores.draw(unit) for label in sorted(order)}
    standard = Policy.load("standard")
    assert standard.decide({label: values[label] for label in order}) == standard.decide(values)


def test_labels_are_case_insensitive() -> None:
    mine = Policy.parse(FILE)
    assert set(mine.unsafe) == {"nsfw", "porn"}
    assert mine.safe == {"sfw", "neutral"}
    for scores in ({"NSFW": 0.9, "SFW": 0.1}, {"nsfw": 0.9, "sfw": 0.1}, {"NsFw": 0.9, "sFw": 0.1}):
        assert mine.decide(scores) == Decision.BLOCK
        assert mine.unsafe_score(scores) == 0.9
        mine.check_labels(tuple(scores))


def test_a_label_without_a_threshold_is_an_error() -> None:
    with pytest.raises(PolicyLabelError) as caught:
        Policy.load("standard").check_labels(("safe", "gore", "Weapons"))
    assert caught.value.message == "Policy 'standard' does not mention the label(s) gore, Weapons."
    assert "[unsafe]" in caught.value.hint


def test_a_classifier_without_an_unsafe_label_is_an_error() -> None:
    with pytest.raises(PolicyLabelError) as caught:
        Policy.load("standard").check_labels(("safe", "neutral"))
    assert caught.value.message == "Policy 'standard' counts none of safe, neutral as unsafe."


@pytest.mark.parametrize("name", PRESETS)
def test_a_nan_score_is_never_harmless(name: str) -> None:
    nan = float("nan")
    assert Policy.load(name).decide({"sfw": nan, "nsfw": nan}) is not Decision.ALLOW


def test_the_digest_depends_on_everything_that_can_change_a_decision() -> None:
    mine = Policy.parse(FILE)
    changes = [
        ("review = 0.4", "review = 0.41"),
        ("block = 0.8", "block = 0.81"),
        ("review = 0.2", "review = 0.21"),
        ("abstain = 0.05", "abstain = 0.06"),
        ('"Neutral"]', '"Neutral", "drawings"]'),
        ("porn =", "hentai ="),
        ('version = "3"', 'version = "4"'),
        ('name = "mine"', 'name = "ours"'),
    ]
    digests = [Policy.parse(FILE.replace(*change)).digest for change in changes]
    assert all(one != other for one, other in itertools.combinations([mine.digest, *digests], 2))


def test_the_digest_depends_on_nothing_else() -> None:
    mine = Policy.parse(FILE)
    reworded = [
        ("for a test", "something else"),
        ('description = "for a test"\n', ""),
        ('"SFW", "Neutral"', '"neutral", "sfw"'),
        ("NSFW =", "nsfw ="),
        ("0.4", "0.40"),
    ]
    for change in reworded:
        assert FILE.replace(*change) != FILE
        assert Policy.parse(FILE.replace(*change)).digest == mine.digest
    lines = FILE.splitlines()
    assert Policy.parse("\n".join([*lines[:6], lines[7], lines[6]])).digest == mine.digest


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("review = 0.4", "review = 1.4", "unsafe.NSFW.review: Input should be less than or equal to 1."),
        ("block = 0.6", "block = -0.6", "unsafe.porn.block: Input should be greater than or equal to 0."),
        ("block = 0.6", "block = 0.1", "unsafe.porn: Value error, block must not be below review."),
        ("review = 0.4, ", "", "unsafe.NSFW.review: Field required."),
        ("review = 0.4", "reveiw = 0.4, review = 0.4", "unsafe.NSFW.reveiw: Extra inputs are not permitted."),
        ("review = 0.4", 'review = "high"', "unsafe.NSFW.review: Input should be a valid number"),
        ("abstain = 0.05", "abstain = 0.6", "abstain: Input should be less than or equal to 0.5."),
        ("abstain", "abstian", "abstian: Extra inputs are not permitted."),
        ('name = "mine"\n', "", "name: Field required."),
        ('"mine"', '""', "name: String should have at least 1 character."),
        ('version = "3"', "version = 3", "version: Input should be a valid string."),
        ('"Neutral"', '"porn"', "policy: Value error, labels cannot be safe and unsafe at once: porn."),
        ('"Neutral"', '" "', "safe.1: String should have at least 1 character"),
        ('name = "mine"', "name = ", "The policy is not TOML: "),
        ("review = 0.4", "review = nan", "unsafe.NSFW.review: Input should be "),
    ],
)
def test_an_invalid_file_names_its_field(old: str, new: str, complaint: str) -> None:
    assert old in FILE
    with pytest.raises(PolicyError) as caught:
        Policy.parse(FILE.replace(old, new, 1))
    assert caught.value.message.startswith(complaint)
    assert "docs/moderation.md" in caught.value.hint


def test_a_policy_without_unsafe_labels() -> None:
    with pytest.raises(PolicyError, match=r"^unsafe: Dictionary should have at least 1 item"):
        Policy.parse('name = "x"\nversion = "1"\n[unsafe]\n')


def test_a_label_given_in_two_cases_is_an_error() -> None:
    with pytest.raises(PolicyError, match="nsfw"):
        Policy.parse(FILE + "nsfw = { review = 0.9, block = 0.9 }\n")


def test_a_file_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    assert Policy.load(path) == Policy.load(str(path)) == Policy.parse(FILE)


@pytest.mark.parametrize("name", ["stern", "missing.toml", "x" * 300])
def test_an_unknown_policy(name: str) -> None:
    with pytest.raises(FileMissingError) as caught:
        Policy.load(name)
    assert caught.value.message == f"There is no policy {name!r} that can be read."
    assert caught.value.hint == "Give the path of a TOML file, or one of strict, standard, lenient."


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileMissingError):
        Policy.load(tmp_path / "x.toml")
    with pytest.raises(FileMissingError):
        Policy.load(tmp_path)


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE.replace("block = 0.8", "block = 8"))
    with pytest.raises(PolicyError, match=r"mine\.toml: unsafe\..*block"):
        Policy.load(path)
