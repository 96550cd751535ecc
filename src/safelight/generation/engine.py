"""The engine: a request goes in, pictures with their records come out, one after the other.

Pictures of one request are drawn one by one. Threads that draw at the same time draw together (``batching.py``); a
picture that is drawn alone is the same, bit for bit, as when its seed is asked for alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from PIL import Image

from safelight.errors import MemoryBudgetError, StoppedError
from safelight.generation.batching import Rendezvous
from safelight.generation.conditioning import prompts_for
from safelight.generation.devices import device_named
from safelight.generation.fair_lock import FairLock
from safelight.generation.painting import Easel, Painting, Progress, Watcher
from safelight.generation.places import Places
from safelight.generation.previews import LatentToRGB, fit
from safelight.generation.prompts import Explanation, explain
from safelight.generation.prompts.cache import EmbeddingCache
from safelight.generation.prompts.encode import CACHE_BYTES, Conditioning
from safelight.generation.record import CheckpointRef, Machine, ReproductionRecord
from safelight.generation.recording import record_of
from safelight.generation.request import UNMARKED, GenerationRequest
from safelight.generation.samplers import check_fit
from safelight.generation.settle import Settled, settle
from safelight.generation.starts import canvas_size, check_start
from safelight.generation.upscaling import Upscaler, load_upscaler
from safelight.images import DecodeLimits, ImageSource, decode
from safelight.models.checkpoint_hub import hub_lookup
from safelight.models.checkpoints import Checkpoint, resolve
from safelight.models.loading import Loaded, load, load_tokenizer, scheduler_config
from safelight.models.memory import LoadedModels
from safelight.runtime.openmp import letting_go
from safelight.settings import Settings

PAUSE = 0.05
"""Seconds between two looks whether a picture that pauses may go on."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Drawn:
    """One picture.

    Args:
        image: RGB.
        record: How it was made.
        seconds: What it took, without loading the checkpoint; with the time of those it was drawn together with.
        stopped_at: The step after which the run was stopped; None for a finished picture.
    """

    image: Image.Image
    record: ReproductionRecord
    seconds: float
    stopped_at: int | None = None


@dataclass(frozen=True)
class Commission:
    """A request with all that it needs, checked, but for the checkpoint in memory.

    Args:
        settled: What to draw.
        checkpoint: Which weights draw.
        reference: The same for the record.
        init: The initial picture, RGB.
        mask: Its mask, RGB.
        upscaler: What enlarges between two passes.
        watcher: Who looks on.
        room: Bytes to keep free for a picture.
        alone: Whether its calls of the denoiser are to be computed alone.
    """

    settled: Settled
    checkpoint: Checkpoint
    reference: CheckpointRef
    init: Image.Image | None
    mask: Image.Image | None
    upscaler: Upscaler | None
    watcher: Watcher
    room: int
    alone: bool


class Engine:
    """Draws pictures. Threads may share it: it draws their pictures together, up to the setting batch_pictures.

    Args:
        settings: Device, precision, memory budget, data directory.

    Raises:
        BackendError: This machine does not have the device.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._device = device_named(settings.device)
        self._precision = _precision(settings.drawing_precision, self._device)
        self._loaded = LoadedModels(self.budget, self._load, self._weight_bytes)
        self._embeddings: EmbeddingCache[Conditioning] = EmbeddingCache(CACHE_BYTES)
        self._colours: dict[Checkpoint, LatentToRGB] = {}
        self._references: dict[Checkpoint, CheckpointRef] = {}
        # In this order: a place among those who draw, memory, the floor. See batching.py about the floor.
        self._places = Places(settings.batch_pictures)
        self._floor = FairLock()
        self._let_go = letting_go()
        self._rendezvous = Rendezvous(self._floor, settings.batch_wait / 1000, self._let_go)

    @property
    def budget(self) -> int:
        """Bytes that weights and the picture on its way may take together."""
        if self._settings.memory_budget:
            return self._settings.memory_budget
        if self._device.type == "cuda":
            return int(0.9 * torch.cuda.mem_get_info(self._device)[1])
        return int(0.8 * psutil.virtual_memory().total)

    def preload(self, name: str) -> None:
        """Load a checkpoint before it is needed.

        Raises:
            ModelError: There is none of that name, or it cannot be used.
        """
        self._loaded.get(self.checkpoint(name))

    def unload(self, name: str | None = None) -> None:
        """Free the memory of checkpoints that nothing is drawn with; they are loaded again when they are needed.

        Args:
            name: Only of this one.
        """
        self._loaded.clear(name)

    def holds(self, name: str) -> bool:
        """Whether a checkpoint is in memory as it lies on the disk now; nothing is fetched to find that out.

        Raises:
            ModelError: It is in memory, and what lies on the disk cannot be used.
        """
        if name not in self.loaded_checkpoints:
            return False
        found = resolve(name, self._settings.home, fetch=hub_lookup(allow_network=False))
        return found in self._loaded.checkpoints()

    @property
    def loaded_checkpoints(self) -> frozenset[str]:
        """Names of the checkpoints in memory."""
        return frozenset(checkpoint.name for checkpoint in self._loaded.checkpoints())

    @property
    def machine(self) -> Machine:
        """What the networks run on, for the record."""
        return Machine(
            device=str(self._device),
            precision=self._precision,
            backend="eager",
            threads=torch.get_num_threads(),
        )

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint that a name means.

        Raises:
            ModelError: There is none, or it cannot be used.
        """
        fetch = hub_lookup(allow_network=self._settings.allow_network)
        return resolve(name, self._settings.home, fetch=fetch)

    def draw(
        self, request: GenerationRequest, watcher: Watcher | None = None, *, alone: bool = False
    ) -> Iterator[Drawn]:
        """Draw a request's pictures, in order; all that can be checked is checked before the first one.

        Between two pictures nothing is locked: others may draw meanwhile, and whoever iterates may take their time.

        Args:
            request: What to draw.
            watcher: Who looks on.
            alone: Compute nothing together with pictures of other threads, so that the result is exact to the bit;
                they still take turns.

        Raises:
            RequestError: A value cannot be drawn with this checkpoint.
            ModelError: The checkpoint or the upscaler cannot be used.
            ImageError: The initial picture or the mask cannot be read.
            StoppedError: The watcher stopped it, and there is no partial picture to give.
            NumbersError: The network's result is not finite.
        """
        commission = self._commission(request, watcher or Watcher(), alone)
        for index in range(request.count):
            drawn = self._draw_one(commission, index)
            yield drawn
            if drawn.stopped_at is not None:
                return

    def explain(self, request: GenerationRequest) -> dict[str, Explanation]:
        """How the prompts of a request's first picture are read: "prompt" and, where there is one, "negative prompt".

        No weights are read for it.

        Raises:
            ModelError: The checkpoint cannot be used.
            PromptError: A prompt, wildcard or style cannot be used.
        """
        checkpoint = self.checkpoint(request.checkpoint or self._settings.checkpoint)
        canvas = canvas_size(request, self._decoded(request.init_image))
        settled = self._see_before_loading(request, checkpoint, canvas)
        words = settled.words(0, self._settings.home)
        plain = checkpoint.family.text_encoding == "plain"
        tokenizer: Any = None if plain else load_tokenizer(checkpoint)
        texts = {"prompt": words.prompt, "negative prompt": words.negative_prompt}
        return {name: explain(text, settled.steps, tokenizer) for name, text in texts.items() if text}

    def _commission(self, request: GenerationRequest, watcher: Watcher, alone: bool) -> Commission:
        checkpoint = self.checkpoint(request.checkpoint or self._settings.checkpoint)
        init = self._decoded(request.init_image)
        mask = self._decoded(request.mask, background=UNMARKED)
        upscaler = None
        if request.hires is not None and request.hires.upscaler != "latent":
            upscaler = load_upscaler(request.hires.upscaler, self._settings.home, self._device)
        check_start(request, init, mask)
        if canvas := canvas_size(request, init):
            self._see_pixels(*canvas)
        if checkpoint not in self._loaded.checkpoints():
            self._see_before_loading(request, checkpoint, canvas)
        with self._loaded.lease(checkpoint) as loaded, self._floor:
            settled, room = self._settled(request, loaded, init)
        self._see_words(settled)
        reference = self._reference(checkpoint)
        watcher = self._aside(watcher)
        return Commission(settled, checkpoint, reference, init, mask, upscaler, watcher, room, alone)

    def _draw_one(self, commission: Commission, index: int) -> Drawn:
        lease = self._loaded.lease(commission.checkpoint, commission.room)
        with self._places, lease as loaded, self._floor:
            if commission.watcher.should_stop():
                raise StoppedError
            started = time.perf_counter()
            easel = self._easel(commission, loaded)
            painting = Painting(easel, index)
            try:
                painted = painting.paint()
            except torch.OutOfMemoryError as error:
                raise MemoryBudgetError(f"{self._device} has no memory left for this picture.") from error
            finally:
                self._let_go()
            seconds = time.perf_counter() - started
        record = record_of(
            commission.settled,
            index,
            painting.words,
            commission.reference,
            self.machine,
            commission.init,
            commission.mask,
            (*easel.prompts.notes(painting.words), *painted.notes),
            upscaler=None if easel.upscaler is None else easel.upscaler.digest,
            batched=painted.together,
        )
        return Drawn(painted.image, record, seconds, painted.stopped_at)

    def _easel(self, commission: Commission, loaded: Loaded) -> Easel:
        return Easel(
            commission.settled,
            loaded,
            prompts_for(loaded, self._embeddings),
            lambda: self._map(loaded),
            commission.init,
            commission.mask,
            commission.upscaler,
            commission.watcher,
            self._settings.home,
            self._settings.max_pixels,
            None if commission.alone else self._rendezvous,
            lambda: self._pause(commission.watcher),
        )

    def _pause(self, watcher: Watcher) -> None:
        """Let others draw for as long as a watcher says; called with the floor, between two steps of a picture."""
        self._let_go()
        with self._floor.lent(), self._places.lent():
            watcher.on_pause(True)
            try:
                while watcher.should_pause() and not watcher.should_stop():
                    time.sleep(PAUSE)
            finally:
                watcher.on_pause(False)

    def _aside(self, watcher: Watcher) -> Watcher:
        """The watcher, told of progress while others draw on; nothing pauses whose memory another picture waits for."""

        def look(progress: Progress) -> Image.Image | None:
            with self._floor:
                return progress.preview()

        def tell(progress: Progress) -> None:
            with self._floor.lent():
                watcher.on_progress(replace(progress, preview=lambda: look(progress)))

        def should_pause() -> bool:
            return watcher.should_pause() and not self._loaded.awaited

        return replace(watcher, on_progress=tell, should_pause=should_pause)

    def _see_before_loading(
        self, request: GenerationRequest, checkpoint: Checkpoint, canvas: tuple[int, int] | None
    ) -> Settled:
        """Find what cannot be drawn before gigabytes of weights are read for it; a single file's size is still open."""
        scheduler = scheduler_config(checkpoint)
        settled = settle(request, checkpoint.family, scheduler, native_side=checkpoint.side(), canvas=canvas)
        check_fit(settled.choice, scheduler)
        self._see_pixels(*settled.hires_size)
        self._see_words(settled)
        return settled

    def _see_words(self, settled: Settled) -> None:
        """Fill in every picture's words: a wildcard without a file may be met by the last one only."""
        for index in range(settled.request.count):
            settled.words(index, self._settings.home)

    def _settled(
        self, request: GenerationRequest, loaded: Loaded, init: Image.Image | None
    ) -> tuple[Settled, int]:
        """What to draw, and the bytes that a picture of it takes."""
        settled = settle(
            request,
            loaded.family,
            loaded.scheduler_config,
            native_side=loaded.default_side,
            canvas=canvas_size(request, init),
        )
        return settled, self._room(settled, loaded)

    def _decoded(
        self, source: ImageSource | None, background: tuple[int, int, int] | None = None
    ) -> Image.Image | None:
        chosen = self._settings
        limits = DecodeLimits(chosen.max_pixels, chosen.max_bytes, background=background or chosen.background)
        return None if source is None else decode(source, limits=limits).image

    def _reference(self, checkpoint: Checkpoint) -> CheckpointRef:
        """What the record says of a checkpoint; one that was replaced on the disk is another one."""
        if checkpoint not in self._references:
            self._references[checkpoint] = CheckpointRef(
                name=checkpoint.name,
                family=checkpoint.family.name,
                digest=checkpoint.digest(self._settings.cache),
                configs=checkpoint.configs_digest(self._settings.cache),
            )
        return self._references[checkpoint]

    def _load(self, checkpoint: Checkpoint) -> Loaded:
        with self._floor:  # while it loads, the libraries' defaults are those of the checkpoint's precision
            try:
                return load(checkpoint, DTYPES[self._precision], self._device)
            finally:
                self._let_go()

    def _map(self, loaded: Loaded) -> LatentToRGB:
        """The preview's map for a checkpoint, fitted when the first preview is wanted."""
        key = loaded.checkpoint
        if key not in self._colours:
            self._colours[key] = fit(loaded.components["vae"])
        return self._colours[key]

    def _weight_bytes(self, checkpoint: Checkpoint) -> int:
        """Bytes that a checkpoint's weights will take in memory, in the precision that is drawn in."""
        return checkpoint.elements * int(DTYPES[self._precision].itemsize)

    def _see_pixels(self, width: int, height: int) -> None:
        if width * height > self._settings.max_pixels:
            raise MemoryBudgetError(
                f"{width} x {height} is more than the {self._settings.max_pixels} pixels a picture may have.",
                hint="Ask for a smaller picture, or raise the setting max_pixels.",
            )

    def _room(self, settled: Settled, loaded: Loaded) -> int:
        width, height = settled.hires_size
        self._see_pixels(width, height)
        picture = picture_bytes(loaded, width, height)
        needed = loaded.nbytes + picture
        if needed > self.budget:
            raise MemoryBudgetError(
                f"{width} x {height} needs about {needed / 1e9:.1f} GB with this checkpoint; "
                f"the budget is {self.budget / 1e9:.1f} GB."
            )
        return picture


def picture_bytes(loaded: Loaded, width: int, height: int) -> int:
    """About what decoding a picture takes at its peak, in bytes.

    The autoencoder's last stage works at full size with its second-narrowest width and holds about three such arrays.
    """
    vae: Any = loaded.components["vae"]
    widths = (
        vae.config.get("block_out_channels") or vae.config.get("decoder_block_out_channels") or (128, 256)
    )
    return int(width * height * max(widths[:2]) * next(vae.parameters()).element_size() * 3)


def _precision(name: str, device: torch.device) -> str:
    """Auto is fp32 on CPUs, where a seed then gives the same bits everywhere, and fp16 elsewhere."""
    if name != "auto":
        return name
    return "fp32" if device.type == "cpu" else "fp16"
