"""The web UI in Firefox: from the prompt to the strip, the viewer, the editor, the gallery and every tab."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from tests.server.serve_process import ServeProcess
from tests.ui.firefox import CONTROL, ENTER, ESCAPE, run_firefox

TABS = {
    "gallery": "document.querySelector('.sl-tile img')?.naturalWidth",
    "moderate": "document.querySelector('.sl-moderate-drop')",
    "models": "document.querySelector('#sl-models h3')",
    "system": "document.querySelector('#sl-system h3')",
    "settings": "document.querySelector('#sl-settings select')",
}
"""What a tab shows, by its name."""


@pytest.mark.slow
def test_the_page_works_in_firefox(studio: ServeProcess, tmp_path: Path) -> None:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("Firefox is not installed")
    with run_firefox(program, tmp_path) as page:
        page.open(f"{studio.url}/studio/")
        page.wait("window.safelight?.form.ready")
        page.click("#sl-prompt textarea")
        prompt = f"a kite {uuid4().hex[:6]}"
        page.type(prompt)
        page.click("#sl-sampler input")
        page.type(f"unip{ENTER}")
        page.click("#sl-steps input[type=number]")
        page.type("2")
        values = "['prompt', 'sampler', 'steps'].map((name) => window.safelight.form.values[name])"
        assert page.evaluate(values) == [prompt, "UniPC", 2]

        page.click("#sl-draw-button")
        page.wait(f"document.querySelector('.sl-stage-title').textContent === '{prompt}'")
        page.wait("document.querySelector('.sl-stage-job[data-state=succeeded] .sl-frame img')?.naturalWidth")
        page.click(".sl-strip-job.sl-selected .sl-strip-picture")
        page.click(".sl-stage-job .sl-frame")
        page.wait("document.querySelector('.sl-viewer img.sl-loaded')")
        page.chord(ESCAPE)
        page.wait("!document.querySelector('.sl-viewer')")

        page.chord("e")
        page.wait("window.safelight.form.editor?.picture && window.safelight.form.editor.scene.view.width")
        page.drag(".sl-editor-stage", (60, 20))
        page.wait("window.safelight.form.editor.mode === 'inpaint'")
        page.chord(CONTROL, ENTER)
        page.wait("document.querySelector('[data-edit=keep]')")
        page.click("[data-edit=keep]")
        page.wait("window.safelight.form.editor.mode === 'image'")
        page.chord(ESCAPE)
        page.wait("document.querySelector('.sl-stage-job').checkVisibility()")

        for tab, shown in TABS.items():
            page.click(f"#sl-tab-{tab}-button")
            page.wait(shown)
        page.chord("q")
        page.wait("document.querySelector('#sl-queue')?.checkVisibility()")
        page.chord(ESCAPE)
        page.chord(CONTROL, "k")
        page.wait("document.querySelector('dialog.sl-palette')")
        assert not page.problems
