"""Nothing overflows the window or is cut off, from a small telephone's width to a desktop's, in every language."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import choose_language, open_page
from tests.ui.generation import strip_job

from safelight.ui.panels import PANELS
from safelight.ui.texts import LANGUAGES

WIDTHS = (1360, 1024, 768, 414, 390, 360, 320)
BEYOND = """() => {
  const width = document.documentElement.clientWidth, found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility() || element.closest(".sl-hidden, .sl-strip > *, .sl-system-table > *")) continue;
    const box = element.getBoundingClientRect();
    const name = `${element.localName}#${element.id}.${element.getAttribute("class")}`;
    if (box.width && (box.right > width + 0.5 || box.left < -0.5)) found.push([name, box.left, box.right]);
  }
  const scroll = document.documentElement.scrollWidth;
  return scroll > width ? [["the page", 0, scroll], ...found] : found;
}"""
"""Elements that overflow the window horizontally; the film strip and tables scroll."""
CUT = """() => {
  const header = document.querySelector(".sl-header"), found = [];
  for (const select of header.querySelectorAll("select")) {
    const { width } = select.getBoundingClientRect();
    const free = document.body.appendChild(select.cloneNode(true));
    const look = getComputedStyle(select);
    for (const name of ["font", "padding", "border", "appearance"])
      free.style.setProperty(name, look[name], "important");
    Object.assign(free.style, { position: "absolute", width: "auto", maxWidth: "none" });
    if (free.getBoundingClientRect().width > width + 0.5) found.push(select.ariaLabel);
    free.remove();
  }
  for (const element of header.querySelectorAll("h1, span, button"))
    if (getComputedStyle(element).display !== "inline" && element.scrollWidth > element.clientWidth + 1)
      found.push(element.outerHTML);
  const parts = [...header.querySelectorAll("h1, select, button, .sl-lamp")];
  const boxes = parts.map((each) => each.getBoundingClientRect());
  const apart = (one, other) => one.right <= other.left + 0.5 || one.bottom <= other.top + 0.5;
  for (const [at, one] of boxes.entries())
    if (boxes.slice(at + 1).some((other) => !apart(one, other) && !apart(other, one)))
      found.push(`covered: ${parts[at].outerHTML}`);
  return found;
}"""
"""Elements of the header that are cut off or covered."""


SQUEEZED = """() => {
  const lamp = document.querySelector(".sl-header .sl-lamp").getBoundingClientRect();
  const place = document.querySelector(".sl-gallery-place")?.getBoundingClientRect();
  const tiles = [...document.querySelectorAll(".sl-tile")].map((tile) => tile.getBoundingClientRect().right);
  const found = lamp.width === lamp.height ? [] : [`the lamp is ${lamp.width} x ${lamp.height}`];
  const beyond = place ? Math.max(0, ...tiles) - place.right : 0;
  return beyond > 0.5 ? [...found, `tiles ${beyond} beyond the gallery's edge`] : found;
}"""
"""The logo is round, and the gallery's last column ends where the gallery does."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_overflows_the_window_or_is_cut_off(page: Page, studio: ServeProcess, language: str) -> None:
    job = studio.submit(9300, count=8, steps=1)
    choose_language(page, studio.url, language)
    open_page(page, studio.url)
    strip_job(page, job).locator(".sl-strip-picture").first.click()
    expect(page.locator(f'.sl-strip-job[data-job="{job}"] img[src*=thumbnail]')).to_have_count(
        8, timeout=300_000
    )
    wrong: list[Any] = []
    for tab in PANELS:
        page.set_viewport_size({"width": WIDTHS[0], "height": 844})
        page.locator(f"#sl-tab-{tab}-button").click()
        if tab == "gallery":
            expect(page.locator(".sl-tile img").first).to_be_visible()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            page.evaluate(
                "() => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))"
            )
            wrong += [(tab, width, *each) for each in page.evaluate(BEYOND)]
            wrong += [(tab, width, each) for each in page.evaluate(CUT)]
            wrong += [(tab, width, each) for each in page.evaluate(SQUEEZED)]
    assert not wrong
