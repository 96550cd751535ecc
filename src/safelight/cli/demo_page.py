"""The tour's page: generated, edited and judged images, in one file without scripts."""

from __future__ import annotations

import shlex
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from safelight import __version__
from safelight.cli.console import printable

if TYPE_CHECKING:
    from safelight.cli.demo import DemoImages, JudgedImage
    from safelight.moderation import Verdict
    from safelight.studio import Picture

_STYLE = """
:root { color-scheme: light dark; --ground: #fafafa; --ink: #1b1b1f; --faint: #62626c; --card: #fff; --line: #e2e2e8;
  --allow: #1c7348; --review: #8a5a00; --block: #b3232f }
@media (prefers-color-scheme: dark) {
  :root { --ground: #18181b; --ink: #ececf0; --faint: #a3a3ae; --card: #232327; --line: #35353b;
    --allow: #4cc48a; --review: #e0aa3e; --block: #f0717b }
}
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2.5rem 0 .8rem } p { max-width: 44rem }
pre { overflow-x: auto; max-width: 42.6rem; padding: .6rem .7rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem }
.grid { display: grid; gap: 1rem; align-items: start; grid-template-columns: repeat(4, 1fr) }
.wide { grid-template-columns: repeat(2, 1fr) }
@media (max-width: 44rem) { .grid { grid-template-columns: repeat(2, 1fr) } .wide { grid-template-columns: 1fr } }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden }
figure img { display: block; width: 100%; background: #fff }
.blocked { aspect-ratio: 1; display: grid; place-items: center; padding: 1rem; text-align: center; color: var(--faint) }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1px }
figcaption { padding: .5rem .7rem; font-size: .85rem; overflow-wrap: anywhere }
figcaption small { color: var(--faint); display: block }
.allow { color: var(--allow) } .review { color: var(--review) } .block, .error { color: var(--block) }
"""


def render_page(images: DemoImages, shown: list[JudgedImage], omitted: int, folder: Path) -> str:
    """The page as HTML; images are linked relative to its folder.

    Args:
        images: The generated images.
        shown: The judged images.
        omitted: Number of judged images that are not shown.
        folder: The folder of the page.
    """
    drawn = "".join(_generated_card(picture, path, folder) for picture, path in images.generated)
    judged = "".join(_judged_card(each, folder) for each in shown)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Safelight: the tour</title><style>{_STYLE}</style>
<h1>Safelight: the tour</h1>
<p>Everything here was generated or judged on this machine, by Safelight {escape(__version__)}.</p>
{_record_example(images)}
<h2>Generated from prompts</h2>
<p>By the small built-in checkpoint. Each picture was judged before it was written.</p>
<div class="grid">{drawn}</div>
{_edited_section(images, folder)}
<h2>Judged</h2>
<p>Beside each picture, where its score comes from: blue lowers it, red raises it; inside the white frame is
what the classifier saw.</p>
<div class="grid wide">{judged}</div>
{_omitted_note(omitted)}
</html>
"""


def _record_example(images: DemoImages) -> str:
    """How to read and use the metadata of the generated files, with one of them as the example."""
    example = next((path for _, path in images.generated if path), None)
    if example is None:
        return ""
    name = escape(printable(shlex.quote(str(example))))
    return (
        "<p>Each generated picture carries its prompt, seed and settings. "
        "To see them, and to make the same file again:</p>"
        f"<pre>safelight info {name}\nsafelight reproduce {name}</pre>"
    )


def _generated_card(picture: Picture, path: Path | None, folder: Path) -> str:
    prompt = escape(picture.record.expanded_prompt)
    seen = _image_tag(path, folder, prompt) if path else '<div class="blocked">blocked by the policy</div>'
    details = f"seed {picture.seed}, {picture.record.steps} steps, {picture.seconds:.1f} s"
    return _card(seen, prompt, details, picture.verdict)


def _edited_section(images: DemoImages, folder: Path) -> str:
    if images.before is None or images.after is None:
        return ""
    picture, path = images.after
    if path is None:
        return ""
    prompt = escape(picture.record.expanded_prompt)
    before = _image_tag(images.before, folder, "before the edit")
    after = _image_tag(path, folder, f"after the edit: {prompt}")
    details = f"generated from the picture on the left, strength {picture.record.strength:g}"
    card = _card(_side_by_side(before, after), prompt, details, picture.verdict)
    return f'<h2>Edited</h2><div class="grid wide">{card}</div>'


def _judged_card(image: JudgedImage, folder: Path) -> str:
    judgement = image.judgement
    name = escape(printable(Path(judgement.path).name))
    if judgement.verdict is None or image.copy is None or image.heatmap is None:
        problem = escape(str(judgement.error or ""))
        return f'<figure><figcaption>{name}<small class="error">{problem}</small></figcaption></figure>'
    picture = _image_tag(image.copy, folder, name)
    heat = _image_tag(image.heatmap, folder, f"heat map of {name}")
    by = f"{escape(judgement.verdict.classifier.name)}, policy {escape(judgement.verdict.policy.name)}"
    return _card(_side_by_side(picture, heat), name, by, judgement.verdict)


def _omitted_note(omitted: int) -> str:
    return f"<p>… and {omitted} more with lower scores, in verdicts.jsonl.</p>" if omitted else ""


def _card(images: str, title: str, details: str, verdict: Verdict) -> str:
    decision = verdict.decision.value
    found = f'<b class="{decision}">{decision}</b>, unsafe {verdict.unsafe:.4f}'
    return f"<figure>{images}<figcaption>{title}<small>{details}</small><small>{found}</small></figcaption></figure>"


def _side_by_side(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _image_tag(path: Path, folder: Path, alt: str) -> str:
    # file names may contain bytes that are not text
    link = quote(path.relative_to(folder).as_posix(), errors="surrogateescape")
    return f'<img src="{link}" alt="{alt}" loading="lazy">'
