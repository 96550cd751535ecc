"""The tour's page: generated, edited and judged images, in one file without scripts."""

from __future__ import annotations

import shlex
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from safelight import __version__
from safelight.cli.console import legible

if TYPE_CHECKING:
    from safelight.cli.demo import Drawings, Shown
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


def page(drawings: Drawings, shown: list[Shown], left_out: int, folder: Path) -> str:
    """The page as HTML; images are linked relative to its folder.

    Args:
        drawings: The generated images.
        shown: The judged images.
        left_out: Number of judged images that are not shown.
        folder: The folder of the page.
    """
    drawn = "".join(_drawn(picture, path, folder) for picture, path in drawings.pictures)
    judged = "".join(_judged(each, folder) for each in shown)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Safelight: the tour</title><style>{_STYLE}</style>
<h1>Safelight: the tour</h1>
<p>Everything here was generated or judged on this machine, by Safelight {escape(__version__)}.</p>
{_records(drawings)}
<h2>Generated from prompts</h2>
<p>By the small built-in checkpoint. Each picture was judged before it was written.</p>
<div class="grid">{drawn}</div>
{_edited(drawings, folder)}
<h2>Judged</h2>
<p>Beside each picture, where its score comes from: blue lowers it, red raises it; inside the white frame is
what the classifier saw.</p>
<div class="grid wide">{judged}</div>
{_more(left_out)}
</html>
"""


def _records(drawings: Drawings) -> str:
    """How to read and use the metadata of the generated files, with one of them as the example."""
    example = next((path for _, path in drawings.pictures if path), None)
    if example is None:
        return ""
    name = escape(legible(shlex.quote(str(example))))
    return (
        "<p>Each generated picture carries its prompt, seed and settings. "
        "To see them, and to make the same file again:</p>"
        f"<pre>safelight info {name}\nsafelight reproduce {name}</pre>"
    )


def _drawn(picture: Picture, path: Path | None, folder: Path) -> str:
    prompt = escape(picture.record.expanded_prompt)
    seen = _image(path, folder, prompt) if path else '<div class="blocked">blocked by the policy</div>'
    details = f"seed {picture.seed}, {picture.record.steps} steps, {picture.seconds:.1f} s"
    return _card(seen, prompt, details, picture.verdict)


def _edited(drawings: Drawings, folder: Path) -> str:
    if drawings.before is None or drawings.after is None:
        return ""
    picture, path = drawings.after
    if path is None:
        return ""
    prompt = escape(picture.record.expanded_prompt)
    before = _image(drawings.before, folder, "before the edit")
    after = _image(path, folder, f"after the edit: {prompt}")
    details = f"generated from the picture on the left, strength {picture.record.strength:g}"
    card = _card(_pair(before, after), prompt, details, picture.verdict)
    return f'<h2>Edited</h2><div class="grid wide">{card}</div>'


def _judged(shown: Shown, folder: Path) -> str:
    judgement = shown.judgement
    name = escape(legible(Path(judgement.path).name))
    if judgement.verdict is None or shown.picture is None or shown.heat is None:
        problem = escape(str(judgement.error or ""))
        return f'<figure><figcaption>{name}<small class="error">{problem}</small></figcaption></figure>'
    picture = _image(shown.picture, folder, name)
    heat = _image(shown.heat, folder, f"heat map of {name}")
    by = f"{escape(judgement.verdict.classifier.name)}, policy {escape(judgement.verdict.policy.name)}"
    return _card(_pair(picture, heat), name, by, judgement.verdict)


def _more(left_out: int) -> str:
    return f"<p>… and {left_out} more with lower scores, in verdicts.jsonl.</p>" if left_out else ""


def _card(seen: str, title: str, details: str, verdict: Verdict) -> str:
    decision = verdict.decision.value
    found = f'<b class="{decision}">{decision}</b>, unsafe {verdict.unsafe:.4f}'
    return f"<figure>{seen}<figcaption>{title}<small>{details}</small><small>{found}</small></figcaption></figure>"


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _image(path: Path, folder: Path, words: str) -> str:
    # file names may contain bytes that are not text
    link = quote(path.relative_to(folder).as_posix(), errors="surrogateescape")
    return f'<img src="{link}" alt="{words}" loading="lazy">'
