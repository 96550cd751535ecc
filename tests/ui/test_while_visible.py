"""``core/while_visible.js``: a task that is repeated while an element is visible."""

from __future__ import annotations

from playwright.sync_api import Page

REQUESTS_DURING_A_RUN = """async () => {
    const { whileVisible } = await import("/core/while_visible.js");
    document.body.textContent = "shown";
    const ends = [];
    let started;
    const firstRun = new Promise((resolve) => { started = resolve; });
    const task = () => new Promise((end) => { ends.push(end); started(); });
    const refresh = whileVisible(document.body, task, () => Infinity);
    const counts = [];
    const count = () => new Promise((resolve) => setTimeout(() => resolve(counts.push(ends.length))));
    await firstRun;
    refresh();
    refresh();
    await count();
    ends.at(-1)();
    await count();
    ends.at(-1)();
    await count();
    return counts;
}"""


def test_requests_during_a_run_are_followed_by_one_more(page: Page, static_url: str) -> None:
    page.goto(f"{static_url}/core/while_visible.js")  # any page of the origin
    assert page.evaluate(REQUESTS_DURING_A_RUN) == [1, 2, 2]
