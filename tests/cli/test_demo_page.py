"""The page by itself; test_demo.py checks its contents after a complete run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from safelight.cli.demo import DemoImages, JudgedImage
from safelight.cli.demo_page import render_page
from safelight.errors import ImageError
from safelight.moderation import Judgement, Moderator, Policy
from safelight.moderation.classifiers.classifier import NetworkClassifier

NOTHING = DemoImages([], None, None)
VOID = {"img", "meta"}


class NestingParser(HTMLParser):
    """Fails where an element is not closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def shown(open_nsfw: NetworkClassifier, photographs: list[Path], tmp_path: Path) -> JudgedImage:
    verdict = Moderator(open_nsfw, Policy.load("standard")).judge(photographs[0])
    judgement = Judgement('some/<b>"x" & y.jpg', verdict=verdict)
    return JudgedImage(judgement, tmp_path / "seen" / "a b?.jpg", tmp_path / "heat" / "a#b%.png")


def test_names_are_text_and_links_are_links(shown: JudgedImage, tmp_path: Path) -> None:
    html = render_page(NOTHING, [shown], 0, tmp_path)
    assert 'src="seen/a%20b%3F.jpg"' in html
    assert 'src="heat/a%23b%25.png"' in html
    assert "&lt;b&gt;&quot;x&quot; &amp; y.jpg" in html
    assert "<b>&quot;" not in html
    parser = NestingParser()
    parser.feed(html)
    assert parser.open == []


def test_every_image_has_a_description(shown: JudgedImage, tmp_path: Path) -> None:
    alts = re.findall(r'alt="([^"]*)"', render_page(NOTHING, [shown], 0, tmp_path))
    assert alts == ["&lt;b&gt;&quot;x&quot; &amp; y.jpg", "heat map of &lt;b&gt;&quot;x&quot; &amp; y.jpg"]


def test_an_unreadable_image_shows_the_reason(tmp_path: Path) -> None:
    torn = JudgedImage(Judgement("torn.jpg", error=ImageError("It ends <early>.")))
    html = render_page(NOTHING, [torn], 0, tmp_path)
    assert 'torn.jpg<small class="error">' in html
    assert "It ends &lt;early&gt;." in html
    assert "<img" not in html


@pytest.mark.parametrize("left_out", [0, 7])
def test_omissions_are_stated(left_out: int, tmp_path: Path) -> None:
    assert ("and 7 more with lower scores" in render_page(NOTHING, [], left_out, tmp_path)) == (left_out == 7)
