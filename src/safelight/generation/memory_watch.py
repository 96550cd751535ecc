"""Watch the free memory while a picture is generated; where it gets short, take less for what still lies ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from safelight.generation.memory_placement import Placement

ESTIMATE_ERROR = 4 / 3
"""Decoding takes at most so many times its estimate, where it was not counted."""

_SHORT_NOTE = (
    "The memory ran short while this picture was generated: the next ones of the request take less of it."
)
_TILES_NOTE = (
    "The memory ran short while this picture was generated: it was decoded in tiles, and tones may differ a little "
    "between them. The next ones of the request take less of it."
)


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes that must be free for the stages that lie ahead.

    Args:
        denoise: Beside the denoiser, for one of its calls.
        decode: For decoding; the autoencoder counts where it is not in memory yet.
        denoiser: Bytes of a denoiser that makes room for the autoencoder.
    """

    denoise: int
    decode: int
    denoiser: int = 0

    @classmethod
    def of(cls, placement: Placement) -> MemoryNeeds:
        """What a picture needs by its plan, or by the estimate of its decoding where it was not planned."""
        plan = placement.memory
        if plan is None:
            return cls(0, int(ESTIMATE_ERROR * placement.room))
        stages = {stage.name: stage for stage in plan.own_stages}
        denoise, decode = stages.get("denoise"), stages.get("decode")
        calls = denoise.activations if denoise else 0
        if decode is None:
            return cls(calls, 0)
        if not plan.phases:
            return cls(calls, decode.activations)
        return cls(calls, decode.weights + decode.activations, denoise.weights if denoise else 0)


@dataclass
class MemoryWatch:
    """Watches the free memory for one picture. What other programs and pictures take counts, since it is gone.

    Between two steps, and before decoding, what is free is compared with what lies ahead. Where it is less, unused
    networks are evicted, and where that is not enough, the picture is decoded in tiles. The steps done are kept, and
    the next pictures of the request take less (``Placer.step_down``).

    Args:
        placement: Where the networks are kept.
        free: Returns the bytes that are free on the device now.
        evict: Evicts the networks that nobody uses.
        end_phase: Lets go of the network that was used last, where networks are in memory one after the other.
        on_short: Called once when the memory got short; the next pictures are to take less.
        may_tile: Whether the picture may be decoded in tiles.
    """

    placement: Placement
    free: Callable[[], int]
    evict: Callable[[], None]
    end_phase: Callable[[], None] = lambda: None
    on_short: Callable[[], None] = lambda: None
    may_tile: bool = True
    _short: bool = field(default=False, init=False)
    _tiled: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Find out what the picture needs."""
        self._needs = MemoryNeeds.of(self.placement)

    @property
    def notes(self) -> tuple[str, ...]:
        """For the record."""
        if self._tiled:
            return (_TILES_NOTE,)
        return (_SHORT_NOTE,) if self._short else ()

    def after_step(self) -> None:
        """Between two steps: where the memory got short, evict what is unused. Takes less than a millisecond."""
        needs = self._needs
        if not self._short and not self._has_free(max(needs.denoise, needs.decode - needs.denoiser)):
            self._step_down()

    def needs_tiles(self) -> bool:
        """Before decoding: whether a picture must be decoded in tiles, after others have made room for it."""
        if self._has_free(self._needs.decode, self.end_phase):
            return False
        self._step_down()
        return self.may_tile

    def make_room(self) -> bool:
        """After decoding ran out of memory: evict what is unused; returns whether tiles may be tried."""
        self.end_phase()
        self.evict()
        self._step_down()
        return self.may_tile

    def note_tiles(self) -> None:
        """Note for the record that the picture was decoded in tiles."""
        self._tiled = True

    def _has_free(self, needed: int, before_evicting: Callable[[], None] = lambda: None) -> bool:
        """Whether so many bytes are free, or are after unused networks were evicted."""
        if self.free() >= needed:
            return True
        before_evicting()
        self.evict()
        return self.free() >= needed

    def _step_down(self) -> None:
        """Let the next pictures take less."""
        if not self._short:
            self._short = True
            self.on_short()
