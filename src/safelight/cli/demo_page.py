"""The tour's page: what was drawn, what was edited, what was judged, in one file without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from safelight import __version__
from safelight.cli.console import legible

if TYPE_CHECKING:
    from safelight.cli.demo import Drawings
    from safelight.moderation import Judgement
    from safelight.studio import Picture

_STYLE = """
:root { color-scheme: light dark; --ground: #fafafa; --ink: #1b1b1f; --faint: #6b6b76; --card: #fff; --line: #e2e2e8 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #18181b; --ink: #ececf0; --faint: #9b9ba6; --card: #232327; --line: #35353b }
}
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2.5rem 0 .8rem } p { max-width: 44rem }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)) }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden }
figure img { display: block; width: 100%; background: #fff }
.wide { grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)) }
.blocked { aspect-ratio: 1; display: grid; place-items: center; color: var(--faint) }
figcaption { padding: .5rem .7rem; font-size: .85rem } figcaption small { color: var(--faint); display: block }
.allow { color: #2f9e66 } .review { color: #c98a12 } .block, .error { color: #d6404c }
.pair { display: flex } .pair img { width: 50% }
"""


def page(drawings: Drawings, judgements: list[Judgement], heat_maps: Mapping[int, Path], folder: Path) -> str:
    """The page as HTML; pictures are linked relative to the folder it goes into.

    Args:
        drawings: What was drawn.
        judgements: What was judged.
        heat_maps: Heat map by the number of the judgement.
        folder: Where the page will lie.
    """
    drawn = "".join(_drawn(picture, path, folder) for picture, path in drawings.pictures)
    judged = "".join(
        _judged(judgement, heat_maps.get(number), folder) for number, judgement in enumerate(judgements)
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Safelight: the tour</title><style>{_STYLE}</style>
<h1>Safelight: the tour</h1>
<p>Everything here was drawn and judged on this machine, by Safelight {escape(__version__)}. Each picture carries its
prompt, seed and settings: <code>safelight info {escape(str(folder))}/drawn/00.png</code> shows them,
<code>safelight reproduce</code> makes the same file again.</p>
<h2>Drawn from words</h2><div class="grid">{drawn}</div>
{_edited(drawings, folder)}
<h2>Judged</h2>
<p>Beside each picture, where its score comes from: blue pulls toward safe, red toward unsafe.</p>
<div class="grid wide">{judged}</div>
</html>
"""


def _drawn(picture: Picture, path: Path | None, folder: Path) -> str:
    prompt = escape(picture.record.expanded_prompt)
    shown = _image(path, folder, prompt) if path else '<div class="blocked">kept back by the policy</div>'
    details = f"seed {picture.seed}, {picture.record.steps} steps, {picture.seconds:.1f} s"
    decision = picture.verdict.decision.value
    return (
        f'<figure>{shown}<figcaption>{prompt}<small>{details} · <span class="{decision}">{decision}</span> '
        f"{picture.verdict.unsafe:.3f}</small></figcaption></figure>"
    )


def _edited(drawings: Drawings, folder: Path) -> str:
    if drawings.before is None or drawings.after is None:
        return ""
    picture, path = drawings.after
    if path is None:
        return ""
    prompt = escape(picture.record.expanded_prompt)
    both = _image(drawings.before, folder, "before") + _image(path, folder, prompt)
    return (
        f'<h2>Edited</h2><div class="grid wide"><figure><div class="pair">{both}</div><figcaption>{prompt}'
        f"<small>from the picture on the left, strength {picture.record.strength:g}</small></figcaption></figure></div>"
    )


def _judged(judgement: Judgement, heat_map: Path | None, folder: Path) -> str:
    name = escape(legible(Path(judgement.path).name))
    if judgement.verdict is None or heat_map is None:
        problem = escape(str(judgement.error or ""))
        return f'<figure><figcaption>{name} <span class="error">{problem}</span></figcaption></figure>'
    verdict = judgement.verdict
    return (
        f"<figure>{_image(heat_map, folder, name)}<figcaption>{name}<small>"
        f'<span class="{verdict.decision.value}">{verdict.decision.value}</span> {verdict.unsafe:.4f}, '
        f"{escape(verdict.classifier.name)}, policy {escape(verdict.policy.name)}</small></figcaption></figure>"
    )


def _image(path: Path, folder: Path, words: str) -> str:
    return f'<img src="{quote(path.relative_to(folder).as_posix())}" alt="{words}" loading="lazy">'
