"""Choose the frames of an animation, or the pages of a file, that are decoded."""

from __future__ import annotations

from safelight.images.types import FileLayout

MAX_SCANNED = 1000
MAX_DECODED = 2_000_000_000


def reachable_frames(layout: FileLayout) -> int:
    """Number of frames that are decoded to reach the sampled ones, at least 1."""
    affordable = MAX_DECODED // (layout.header.width * layout.header.height)
    return max(1, min(layout.header.frame_count or 1, MAX_SCANNED, affordable))


def sample_frames(layout: FileLayout, max_frames: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The indices of the sampled frames, and notes on those left out."""
    count = layout.header.frame_count or 1
    reached = reachable_frames(layout)
    chosen = max(1, min(reached, max_frames))
    indices = tuple(number * reached // chosen for number in range(chosen))
    if chosen == count:
        return indices, ()
    seen = f"frames {', '.join(map(str, indices))} of {count} seen"
    if reached == count:
        return indices, (seen,)
    return indices, (seen, f"frames from {reached} on are out of reach")
