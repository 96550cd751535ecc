"""The engine: owns the device, the loaded networks and the caches, and starts runs.

Pictures of one request are generated one by one. Runs of several threads are batched (``runtime/executor.py``); a
picture that is computed alone is the same, bit for bit, as when its seed is requested alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image

from safelight.errors import (
    DownloadStoppedError,
    MemoryBudgetError,
    MemoryExhaustedError,
    RunStoppedError,
)
from safelight.generation.adapters.embeddings import described_inversions
from safelight.generation.adapters.files import check_adapters, used_adapters
from safelight.generation.artifact import Artifact
from safelight.generation.backend_choice import BackendPolicy, check_device
from safelight.generation.canvas.init_image import check_inputs
from safelight.generation.canvas.references import (
    check_encoder_sees,
    check_references,
    check_sizes,
    encoded_share,
    looks,
    result_size,
    with_initial_reference,
)
from safelight.generation.compile_child import ChildCompiler
from safelight.generation.compiled_networks import CompiledNetworks
from safelight.generation.conditioning import make_conditioning
from safelight.generation.control.pictures import ControlPictures, GivenPicture
from safelight.generation.control.planning import PlannedControl, plan_controls
from safelight.generation.memory_placement import Placement, Placer, stand_ins
from safelight.generation.memory_steps import OtherDevice
from safelight.generation.memory_watch import MemoryWatch
from safelight.generation.modifiers.registry import NetworkContext, NetworkSources, network_sources
from safelight.generation.modifiers.seamless import without_tiles
from safelight.generation.noise import with_noise_source
from safelight.generation.plan import Plan, make_plan
from safelight.generation.precision import AUTO, default_precision, resolve_precisions, settings_of_run
from safelight.generation.previews import LatentToRGB, fit_latent_to_rgb
from safelight.generation.progress import RunProgress, Watcher
from safelight.generation.prompts import PromptExplanation, explain_prompt
from safelight.generation.prompts.embedding_cache import EmbeddingCache
from safelight.generation.prompts.encode import CACHE_BYTES, Conditioning
from safelight.generation.quality import MIN_CACHED_STEPS, Quality, with_quality
from safelight.generation.record import CheckpointRef, Machine, PartRef
from safelight.generation.regions import RegionMasks
from safelight.generation.request import MASK_BACKGROUND, GenerationRequest, Hires, Variation
from safelight.generation.run import Components, Run
from safelight.generation.slots import ConcurrencySlots
from safelight.generation.solvers.samplers import check_compatible
from safelight.generation.staged_run import StagePlanner
from safelight.generation.stages import has_stages, without_stages
from safelight.generation.upscaling import Upscaler, UpscalerFile, find_upscaler
from safelight.images import DecodeLimits, ImageSource, decode
from safelight.models.checkpoints.discovery import Checkpoint, HubLookup, find_checkpoint
from safelight.models.checkpoints.empty_networks import empty_networks
from safelight.models.checkpoints.loading import (
    CheckpointParts,
    LoadedCheckpoint,
    describe_parts,
    load_tokenizer,
    scheduler_config,
)
from safelight.models.checkpoints.parts import NamedParts, choice_notes
from safelight.models.controls.discovery import ControlModel
from safelight.models.controls.packaged import control_folders
from safelight.models.digests import FileDigests
from safelight.models.families import Family
from safelight.models.families.precision import ComponentPrecisions
from safelight.models.hub.checkpoint_download import hub_lookup
from safelight.runtime.allocator import keep_freed_memory, trim_excess
from safelight.runtime.backends import AUTO as AUTO_BACKEND
from safelight.runtime.backends import EAGER, checkpoint_backend
from safelight.runtime.backends.eager import DTYPES
from safelight.runtime.compilation.speed import find_speeds
from safelight.runtime.compilation.store import Convert, FormStore, Wanted
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.devices import device_of, fallback_notes, resolve_devices, settle_device
from safelight.runtime.devices.failure import broken_device_errors
from safelight.runtime.devices.memory import DeviceMemory
from safelight.runtime.devices.placement import ComponentDevices
from safelight.runtime.devices.summary import DeviceSummary, summarize_devices
from safelight.runtime.executor import Executor
from safelight.runtime.fifo_lock import FifoLock
from safelight.runtime.memory_plan.exhaustion import exhaustion_errors
from safelight.runtime.memory_plan.forms import NetworkForm
from safelight.runtime.memory_plan.meter import StageMeter
from safelight.runtime.memory_plan.phases import Phases, in_memory
from safelight.runtime.openmp import WaitPolicy, thread_team_releaser
from safelight.runtime.pool import ModelPool
from safelight.settings import Settings

_log = logging.getLogger(__name__)

PAUSE_POLL_INTERVAL = 0.05
"""Seconds between two checks whether a paused picture may go on."""


class Engine:
    """Generates pictures. Thread-safe: pictures of several threads are batched, up to the setting max_batch_size.

    Args:
        settings: Device, precision, backend, memory budget, data directory.
        pool: Where networks are kept, whose budget becomes that of the device; a pool of its own when not given.
        read_free: Returns the bytes that are free on a device now.
        compiler: Makes what converts compiled forms of the networks of a checkpoint, an upscaler or a control.

    Raises:
        BackendError: This machine does not have the device, or there is no such backend in this precision.
    """

    def __init__(
        self,
        settings: Settings,
        pool: ModelPool | None = None,
        read_free: Callable[[torch.device], int] = lambda device: device_of(device).memory().free,
        compiler: Callable[[Settings, Checkpoint | UpscalerFile | ControlModel], Convert] = ChildCompiler,
    ) -> None:
        self._settings, self._read_free = settings, read_free
        device, _ = settle_device(settings, settings.device)
        device.prepare()
        self._device = device.torch_device
        self._precision = default_precision(settings, self._device)
        known = None if self._precision == AUTO else self._precision
        self._backend = _eager_backend(settings.generation_backend, known)
        check_device(settings.generation_backend, self._device)
        self._pool = pool or ModelPool(0)
        self._pool.budget = device.weights_budget(settings.memory_budget)
        self._device_notes = fallback_notes(settings)  # a device that is not here is an error now, not later
        for note in self._device_notes:
            _log.warning(note)
        self._digests = FileDigests(settings.cache_folder)
        self._parts: dict[_Described, CheckpointParts] = {}
        self._parts_lock = threading.Lock()
        self._embeddings: EmbeddingCache[Conditioning] = EmbeddingCache(CACHE_BYTES)
        self._previewers: dict[ComponentKey, LatentToRGB] = {}
        self._placer = Placer(settings, self._device, self._pool, self._describe, self._loading)
        self._checkpoint_refs: dict[Checkpoint, CheckpointRef] = {}
        # Threads take these in this order: a concurrency slot, memory, the lock (see runtime/executor.py).
        self._slots = ConcurrencySlots(settings.max_batch_size)
        self._lock = FifoLock()
        self._release_threads = thread_team_releaser()
        self._wait_policy = WaitPolicy()
        keep_freed_memory()
        self._executor = Executor(self._lock, settings.batch_timeout / 1000, self._release_threads)
        self._compiled = CompiledNetworks(settings, self._device, self._pool, compiler, self._lock.released)
        self._empty: tuple[Checkpoint, Mapping[str, torch.nn.Module]] | None = None

    @property
    def memory_budget(self) -> int:
        """Bytes that weights and pictures in progress may take together."""
        return self._pool.budget

    @property
    def memory(self) -> DeviceMemory:
        """The device, and what of its memory networks and a picture may take now."""
        return self._placer.memory()

    @property
    def device_notes(self) -> tuple[str, ...]:
        """A sentence on each device of the settings whose place the CPU has taken."""
        return self._device_notes

    @property
    def devices(self) -> list[DeviceSummary]:
        """The devices of this machine, with the memory of those that are in use."""
        return summarize_devices(self._devices_in(self._settings))

    @property
    def other_devices(self) -> list[OtherDevice]:
        """The devices beside the denoiser's, and what may be used of them now."""
        return self._placer.others(self._devices_in(self._settings))

    @property
    def forms(self) -> FormStore:
        """The compiled forms of networks."""
        return self._compiled.store

    @property
    def shortages(self) -> int:
        """How often the memory ran short while a picture was generated, so that less of it was taken."""
        return self._placer.shortages

    def preload(self, name: str) -> None:
        """Load a checkpoint before it is needed.

        Raises:
            ModelError: There is none with this name, or it cannot be used.
        """
        checkpoint = self.checkpoint(name)
        usual = self._settings_at(self._settings.generation_quality, checkpoint.family)
        parts = self._describe(checkpoint, usual)
        if not self._placer.can_be_resident(parts, self._devices_in(usual)):
            return  # its networks are in memory one after the other
        forms = threading.Thread(target=self._compiled.preload, args=(parts,))
        forms.start()  # engines compile without Python's lock, while weights are read
        with self._lease_networks(parts):
            pass  # loaded; the lease ends, and they stay in memory
        forms.join()

    def unload(self, name: str | None = None) -> None:
        """Free the memory of unused networks; they are loaded again when they are needed.

        Args:
            name: Only this checkpoint; networks that it shares with others in memory stay.
        """
        if name is None:
            self._pool.evict()
            return
        named = [parts for parts in self._descriptions() if parts.checkpoint.name == name]
        others = (parts for parts in self._loaded() if parts.checkpoint.name != name)
        shared = {key for parts in others for key in parts.keys}
        for parts in named:
            own = parts.keys - shared
            digests = {key.digest for key in own}
            self._pool.evict({key for key in self._pool.keys if key.digest in digests})  # compiled forms too
            with self._parts_lock:
                if not self._pool.has_any(own):  # nothing of it is in use
                    self._parts = {key: each for key, each in self._parts.items() if each is not parts}

    def is_loaded(self, name: str) -> bool:
        """Whether the current version of a checkpoint on disk is in memory; the network is not used.

        Raises:
            ModelError: It is in memory, and the version on disk cannot be used.
        """
        if name not in self.loaded_checkpoints:
            return False
        found = self._find_checkpoint(name, hub_lookup())
        return any(parts.checkpoint == found for parts in self._loaded())

    @property
    def loaded_checkpoints(self) -> frozenset[str]:
        """The names of the checkpoints in memory."""
        return frozenset(parts.checkpoint.name for parts in self._loaded())

    @property
    def machine(self) -> Machine:
        """The hardware and arithmetic that the settings ask for; a record has what a picture's networks ran on.

        The precision is auto where each family has its own.
        """
        return Machine(
            device=str(self._device),
            precision=self._precision,
            backend=self._settings.generation_backend,
            threads=torch.get_num_threads(),
        )

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint with a name.

        Raises:
            ModelError: There is none, or it cannot be used.
        """
        return self._find_checkpoint(name, hub_lookup(self._settings))

    def _find_checkpoint(
        self, name: str, lookup: HubLookup, request: GenerationRequest | None = None
    ) -> Checkpoint:
        settings = self._settings
        return find_checkpoint(
            name,
            settings.home,
            folders=settings.current_model_folders,
            hub_lookup=lookup,
            named=NamedParts() if request is None else NamedParts(request.vae, request.text_encoders),
        )

    def _requested_checkpoint(
        self, request: GenerationRequest, should_stop: Callable[[], bool] = lambda: False
    ) -> Checkpoint:
        """The checkpoint of a request, with the networks that it names in place of the checkpoint's own.

        Raises:
            RunStoppedError: ``should_stop`` said so while the checkpoint was pulled.
        """
        name = request.checkpoint or self._settings.checkpoint
        try:
            return self._find_checkpoint(name, hub_lookup(self._settings, should_stop=should_stop), request)
        except DownloadStoppedError as error:
            raise RunStoppedError from error

    def generate(
        self,
        request: GenerationRequest,
        watcher: Watcher | None = None,
        *,
        unbatched: bool = False,
        skip: Collection[int] = (),
        recorded: Machine | None = None,
    ) -> Iterator[Artifact]:
        """Generate a request's pictures in order; everything that can be checked is checked before the first one.

        Nothing is locked between two pictures: the caller may take time, and other threads continue meanwhile.

        Args:
            request: What to generate.
            watcher: Callbacks.
            unbatched: Do not batch with pictures of other threads, so that the result is exact to the bit; threads
                still take turns.
            skip: Indices of pictures that are not needed.
            recorded: What the record of a picture says that it ran on: the same backends compute it again, in the same
                precisions. It waits until they are compiled.

        Raises:
            RequestError: The checkpoint does not support a value.
            ModelError: The checkpoint or the upscaler cannot be used.
            BackendError: The backend computes none of the checkpoint's networks, or cannot patch one.
            ImageError: The initial picture or the mask cannot be read.
            RunStoppedError: The watcher stopped it, and no partial picture was requested or is possible.
            NonFiniteError: The network's result is not finite.
            DeviceBrokenError: The device failed; this engine cannot be used any more.
        """
        run = self.start(request, watcher, unbatched=unbatched, recorded=recorded)
        yield from run.artifacts(skip)

    def measure_backends(self) -> None:
        """Measure the backends if one is to be chosen and they were not measured yet; that takes up to a minute."""
        if self._settings.generation_backend == AUTO_BACKEND and self._device.type == "cpu":
            find_speeds(self._settings.cache_folder)

    def wanted_forms(self, request: GenerationRequest) -> list[Wanted]:
        """The compiled forms that a request's pictures use: those of the calls of one step, which is computed eagerly.

        With a step cache these are several steps.

        Raises:
            SafelightError: As in ``generate``.
        """
        found: dict[ComponentKey, Wanted] = {}

        def collect(wanted: Wanted) -> None:
            found.setdefault(wanted.pool_key, wanted)

        policy = replace(self._compiled.policy(), collect=collect)

        def start(steps: int) -> Run:
            short = without_stages(request).model_copy(update={"steps": steps, "count": 1})
            return self._start(short, Watcher(), unbatched=True, policy=policy)

        run = start(1)
        if run.plan.step_cache is not None:
            run = start(MIN_CACHED_STEPS)
        run.generate(0)
        return list(found.values())

    def start(
        self,
        request: GenerationRequest,
        watcher: Watcher | None = None,
        *,
        unbatched: bool = False,
        recorded: Machine | None = None,
    ) -> Run:
        """Check and plan a request; returns a run that generates its pictures. The arguments are those of ``generate``.

        Raises:
            RequestError, ModelError, ImageError: As in ``generate``.
        """
        return self._start(
            request, watcher or Watcher(), unbatched=unbatched, policy=self._compiled.policy(recorded)
        )

    def _start(
        self, request: GenerationRequest, watcher: Watcher, *, unbatched: bool, policy: BackendPolicy
    ) -> Run:
        request = with_noise_source(with_quality(request, self._settings), self._settings)
        context = _RunContext(
            self._release_lock_around(watcher),
            None if unbatched else self._executor,
            policy,
            self._decode(request.init_image),
            self._decode(request.mask, background=MASK_BACKGROUND),
            self._control_pictures(request),
        )
        if has_stages(request):
            return StagePlanner(
                partial(self._requested_checkpoint, should_stop=context.watcher.should_stop),
                partial(self._check_stage, context=context),
                partial(self._prepare, context=context),
            ).plan(request)
        return self._prepare(request, context=context, hires=request.hires)

    def _check_stage(self, request: GenerationRequest, checkpoint: Checkpoint, context: _RunContext) -> Plan:
        """Detect errors of a stage before anything is loaded."""
        family = checkpoint.family
        request = with_initial_reference(request, family)
        init_image = None if request.init_image is None else context.init_image
        canvas = _canvas_size(request, init_image)
        canvas = canvas or result_size(self._references(request), family, checkpoint.default_side())
        settings = self._run_settings(request, checkpoint, context)
        return self._check_before_loading(request, checkpoint, canvas, settings)

    def _references(self, request: GenerationRequest) -> tuple[Image.Image, ...]:
        """A request's references, decoded."""
        decoded = (self._decode(each.image) for each in request.references)
        return tuple(image for image in decoded if image is not None)

    def _run_settings(
        self, request: GenerationRequest, checkpoint: Checkpoint, context: _RunContext
    ) -> Settings:
        recorded = context.policy.recorded
        return without_tiles(
            self._settings_at(request.quality, checkpoint.family, recorded), request.seamless
        )

    def _prepare(
        self,
        request: GenerationRequest,
        *,
        context: _RunContext,
        hires: Hires | None = None,
        variation: Variation | None = None,
        with_adapters: bool = True,
        number: int = 0,
    ) -> Run:
        """Check and plan a request for one checkpoint.

        Args:
            request: The request.
            context: What all stages of a picture have in common.
            hires: How its pictures are enlarged.
            variation: The variation of a picture of which this is a later stage.
            with_adapters: Whether adapters have an effect.
            number: Which stage it is, from 0. The weights of a later one are not loaded now if others would have to
                make room for them.
        """
        context = context.stage(number)
        watcher, policy = context.watcher, context.policy
        checkpoint = self._requested_checkpoint(request, watcher.should_stop)
        request = with_initial_reference(request, checkpoint.family)
        check_references(request, checkpoint.family)
        settings = self._run_settings(request, checkpoint, context)
        init_image, mask = None if request.init_image is None else context.init_image, context.mask
        references = self._references(request)
        check_sizes(references, checkpoint.family)
        if looks(request.mode, checkpoint.family, len(references)):
            check_encoder_sees(checkpoint)
        regions = RegionMasks(self._region_masks(request))
        controls = plan_controls(
            request.control, checkpoint.family, self._control_folders(), self._settings.cache_folder
        )
        upscaler = self._upscaler(hires)
        check_inputs(request, init_image, mask)
        canvas = _canvas_size(request, init_image)
        if canvas is not None:
            self._check_pixels(*canvas)
        canvas = canvas or result_size(references, checkpoint.family, checkpoint.default_side())
        first = None
        if all(parts.checkpoint != checkpoint for parts in self._loaded()):
            first = self._check_before_loading(request, checkpoint, canvas, settings)
            first = replace(first, with_adapters=with_adapters)
        parts = self._describe(checkpoint, settings)
        if first is not None:  # an adapter that cannot be used is found before the checkpoint is loaded
            self._modifier_networks(first, parts, settings)
        plan, decoding = self._make_plan(request, parts, canvas, settings, later=number > 0)
        notes = (*plan.notes, *choice_notes(checkpoint.parts), *self._device_notes)
        sizes = tuple(image.size for image in references)
        plan = replace(
            plan, notes=notes, controls=controls, reference_sizes=sizes, with_adapters=with_adapters
        )
        self._check_prompts(plan)
        self._check_pixels(*plan.hires_size)
        if variation is not None:
            plan = replace(plan, request=plan.request.model_copy(update={"variation": variation}))
        networks = self._modifier_networks(plan, parts, settings)
        sources = _sources_beside(networks, upscaler)
        beside, derived = _bytes_beside(parts, sources), sum(source.derived for source in sources)
        devices = self._devices_in(settings)
        if decoding is not None:
            decoding = int(decoding * encoded_share(plan.reference_sizes, (plan.width, plan.height)))
        placement = self._placer.place(parts, plan, beside, decoding, settings, devices, derived)
        return Run(
            plan=plan,
            checkpoint=self._checkpoint_ref(parts),
            lease=lambda: self._lease_placed(placement, upscaler, networks, controls, policy),
            step_down=lambda: self._placer.step_down(placement),
            init_image=init_image,
            mask=mask,
            controls=ControlPictures(controls, context.control, self._settings, watcher.should_stop),
            references=references,
            regions=regions,
            watcher=watcher,
            home=self._settings.home,
            max_pixels=self._settings.max_pixels,
            executor=context.executor,
            pause=lambda: self._pause(watcher),
        )

    def _control_folders(self) -> list[Path]:
        return control_folders(self._settings.home, self._settings.current_model_folders)

    def _control_pictures(self, request: GenerationRequest) -> tuple[GivenPicture, ...]:
        """The pictures of a request's controls, decoded."""
        return tuple(
            GivenPicture(self._decode(control.image), self._decode(control.mask, background=MASK_BACKGROUND))
            for control in request.control
        )

    def _region_masks(self, request: GenerationRequest) -> list[Image.Image]:
        """The masks of a request's regions, decoded."""
        decoded = (self._decode(region.mask, background=MASK_BACKGROUND) for region in request.regions)
        return [image for image in decoded if image is not None]

    def _make_plan(
        self,
        request: GenerationRequest,
        parts: CheckpointParts,
        canvas: tuple[int, int] | None,
        settings: Settings,
        *,
        later: bool,
    ) -> tuple[Plan, int | None]:
        """The plan of a request, and an estimate of the bytes of decoding where the checkpoint could be loaded."""
        missing = {
            each.key: each.nbytes for each in parts.sources.values() if each.key not in self._pool.keys
        }
        no_room = later and sum(missing.values()) + self._pool.loaded_bytes > self._placer.memory().usable
        if no_room or not self._placer.can_be_resident(parts, self._devices_in(settings)):
            return self._check_before_loading(request, parts.checkpoint, canvas, settings), None
        try:
            with self._lease_networks(parts) as components, self._lock, self._memory_errors():
                loaded = parts.assemble(components)
                plan = make_plan(
                    request,
                    loaded.family,
                    loaded.scheduler_config,
                    native_side=loaded.default_side,
                    canvas=canvas,
                    patching=self._compiled.patching(loaded.family, self._backend),
                )
        except MemoryExhaustedError:  # all at once were too many; the run steps down where it has to
            return self._check_before_loading(request, parts.checkpoint, canvas, settings), None
        return plan, decoding_bytes(loaded, *plan.hires_size)

    @contextmanager
    def lease_upscaler(self, name: str, tiles: Counter[str] | None = None) -> Iterator[Upscaler]:
        """An upscaler for use within the block; a network stays in memory as long as the budget allows.

        Its network's tiles are computed by a compiled form as soon as there is one: it is made while other tiles are
        computed eagerly.

        Args:
            name: Its name, or a file.
            tiles: Gets how many tiles each backend computed, for networks.

        Raises:
            UpscalerUnknownError, FileMissingError, PickleRefusedError, ModelInvalidError: It cannot be used.
            MemoryBudgetError: It does not fit the memory.
        """
        found = find_upscaler(name, self._settings.home)
        if not isinstance(found, UpscalerFile):
            yield found
            return
        with self._pool.lease([self._upscaler_source(found)]) as (component,), ExitStack() as until:
            upscaler, network = self._compiled.upscaler(found, component, until)
            try:
                yield upscaler
            finally:
                if tiles is not None:
                    tiles.update(network.calls)

    def explain(self, request: GenerationRequest) -> dict[str, PromptExplanation]:
        """How the prompts of a request's first picture are parsed: "prompt" and, where there is one, "negative prompt".

        No weights are read.

        Raises:
            ModelError: The checkpoint cannot be used.
            PromptError: A prompt, wildcard or style cannot be used.
        """
        checkpoint = self._requested_checkpoint(request)
        request = with_initial_reference(request, checkpoint.family)
        canvas = _canvas_size(request, self._decode(request.init_image))
        request = request.model_copy(update={"hires": None, "refiner": None})
        plan = self._check_before_loading(request, checkpoint, canvas, self._settings)
        prompts = plan.prompts(0, self._settings.home)
        plain = checkpoint.family.text_encoding == "plain"
        tokenizer: Any = None if plain else load_tokenizer(checkpoint)
        texts = {"prompt": prompts.prompt, "negative prompt": prompts.negative_prompt}
        if len(prompts.parts) > 1:
            parts = {
                f"prompt, part {number} with the weight {part.weight:g}": part.text
                for number, part in enumerate(prompts.parts, 1)
            }
            texts = {**parts, "negative prompt": prompts.negative_prompt}
        texts |= {f"region {number}": text for number, text in enumerate(prompts.regions, 1)}
        inversions = described_inversions(texts.values(), checkpoint.family, self._settings)
        return {
            name: explain_prompt(text, plan.steps, tokenizer, inversions)
            for name, text in texts.items()
            if text
        }

    def _upscaler(self, hires: Hires | None) -> Upscaler | _UpscalerNetwork | None:
        """The upscaler between two passes; a network is loaded at once, so that an invalid file is detected."""
        if hires is None or hires.upscaler == "latent":
            return None
        found = find_upscaler(hires.upscaler, self._settings.home)
        if not isinstance(found, UpscalerFile):
            return found
        return _UpscalerNetwork(found, self._load_now(self._upscaler_source(found)))

    def _upscaler_source(self, file: UpscalerFile) -> ComponentSource:
        return file.source(self._settings.cache_folder, self._device).within(self._loading)

    def _modifier_networks(self, plan: Plan, parts: CheckpointParts, settings: Settings) -> NetworkSources:
        """The networks of modifiers; they are loaded at once, so that an invalid file is detected."""
        precision = self._precisions_in(settings, plan.family).denoiser
        context = NetworkContext(
            plan,
            self._device,
            DTYPES[precision],
            precision,
            self._settings.cache_folder,
            parts,
            partial(self._empty_networks, parts.checkpoint),
            settings,
            self._digests,
        )
        with self._loading():
            sources = network_sources(context)
        return {
            modifier: {name: self._load_now(source.within(self._loading)) for name, source in own.items()}
            for modifier, own in sources.items()
        }

    def _load_now(self, source: ComponentSource) -> ComponentSource:
        """The source with the true size in place of the estimate, which is known once the component is loaded."""
        (component,) = self._pool.load(source)
        return replace(source, nbytes=component.nbytes, derived=component.derived)

    def _empty_networks(self, checkpoint: Checkpoint) -> Mapping[str, torch.nn.Module]:
        """A checkpoint's networks without weights; those of the last checkpoint are kept, as they take no memory."""
        if self._empty is None or self._empty[0] != checkpoint:
            self._empty = checkpoint, empty_networks(checkpoint)
        return self._empty[1]

    def _keep(self, source: ComponentSource, placement: Placement, until: ExitStack) -> Component | None:
        """Something that is made of a picture's networks, in memory until the picture ends; None without room."""
        if not placement.derived:
            return None
        try:
            (component,) = until.enter_context(
                self._pool.lease([source], within=placement.usable, wait=False)
            )
        except MemoryBudgetError:
            return None
        return component

    def _lease_placed(
        self,
        placement: Placement,
        upscaler: Upscaler | _UpscalerNetwork | None,
        networks: NetworkSources,
        controls: Sequence[PlannedControl],
        policy: BackendPolicy,
    ) -> AbstractContextManager[Components]:
        """The networks for one picture, as its placement says; with less of them after a shortage."""
        if placement.is_short:
            self._placer.step_down(placement)
        if placement.in_phases:
            return self._lease_phases(placement, upscaler, networks)
        return self._lease(placement, upscaler, networks, controls, policy)

    @contextmanager
    def _lease(
        self,
        placement: Placement,
        upscaler: Upscaler | _UpscalerNetwork | None,
        networks: NetworkSources,
        controls: Sequence[PlannedControl],
        policy: BackendPolicy,
    ) -> Iterator[Components]:
        """The networks for one picture, with a concurrency slot and the lock.

        Args:
            placement: The checkpoint to lease, and the bytes to keep free for the picture.
            upscaler: The upscaler between two passes; a network is leased with the checkpoint.
            networks: The networks of modifiers, which are leased with the checkpoint.
            controls: The controls, whose networks are among them.
            policy: Decides which backends compute the checkpoint's networks.
        """
        parts, beside = placement.parts, _sources_beside(networks, upscaler)
        with (
            self._slots,
            self._lease_networks(parts, beside, placement.room, placement.usable) as components,
            self._lock,
            self._memory_errors(),
            ExitStack() as stack,
        ):
            others: dict[str, Component] = {}
            if isinstance(upscaler, _UpscalerNetwork):
                component = components.pop()
                upscaler, network = self._compiled.upscaler(upscaler.file, component, stack, policy)
                others["upscaler"] = replace(component, network=network)
            leased = iter(components)
            loaded = parts.assemble([next(leased) for _ in parts.sources])
            loaded = replace(loaded, networks=self._compiled.networks(loaded, policy, stack))
            own = {modifier: {name: next(leased) for name in names} for modifier, names in networks.items()}
            if (used := own.get("control")) is not None:
                own["control"] = self._compiled.controls(controls, used, policy, stack)
            prompts = make_conditioning(loaded, self._embeddings)
            keep_freed_memory()
            self._wait_policy.adjust()
            try:
                yield Components(
                    loaded,
                    prompts,
                    lambda: self._previewer(loaded),
                    upscaler,
                    own,
                    placement,
                    self._meter(),
                    self._watch(placement),
                    others=others,
                    keep=partial(self._keep, placement=placement, until=stack),
                )
            finally:
                self._release_threads()
                trim_excess()

    @contextmanager
    def _lease_phases(
        self, placement: Placement, upscaler: Upscaler | _UpscalerNetwork | None, networks: NetworkSources
    ) -> Iterator[Components]:
        """The same for networks that are in memory one after the other; those beside the checkpoint stay."""
        beside = _sources_beside(networks, upscaler)
        with (
            self._slots,
            self._pool.reserve(placement.peak, placement.usable) as reservation,
            self._lock,
            self._memory_errors(),
            ExitStack() as stack,
        ):
            with self._lock.released():
                others = [stack.enter_context(reservation.lease(source)) for source in beside]
            meter = self._meter()
            phases = stack.enter_context(
                closing(Phases(reservation, partial(self._changing_networks, meter)))
            )
            if isinstance(upscaler, _UpscalerNetwork):
                upscaler = upscaler.file.named(others.pop())
            leased = iter(others)
            own = {modifier: {name: next(leased) for name in names} for modifier, names in networks.items()}
            loaded = placement.parts.assemble(stand_ins(placement, phases, self._device))
            previewer = self._previewer(loaded)  # now, before the denoiser would have to make room for it
            prompts = make_conditioning(loaded, self._embeddings)
            self._wait_policy.adjust()
            try:
                yield Components(
                    loaded,
                    prompts,
                    lambda: previewer,
                    upscaler,
                    own,
                    placement,
                    meter,
                    self._watch(placement, phases.close),
                    batched=False,
                )
            finally:
                self._release_threads()
                trim_excess()

    @contextmanager
    def _changing_networks(self, meter: StageMeter) -> Iterator[None]:
        """Surrounds the change from one network to another: it is not measured, and others may compute meanwhile."""
        with meter.paused(), self._lock.released():
            yield

    def _meter(self) -> StageMeter:
        return StageMeter(self._device, self._pool.loaded_bytes, lambda: self._pool.idle_bytes)

    def _watch(self, placement: Placement, end_phase: Callable[[], None] = lambda: None) -> MemoryWatch:
        return MemoryWatch(
            placement,
            lambda: self._read_free(self._device),
            self._pool.evict,
            end_phase,
            lambda: self._placer.note_shortage(placement),
            may_tile="tiling" in placement.settings.memory_steps,
        )

    @contextmanager
    def _lease_networks(
        self,
        parts: CheckpointParts,
        others: Iterable[ComponentSource] = (),
        room: int = 0,
        within: int | None = None,
    ) -> Iterator[list[Component]]:
        """A checkpoint's networks and others, leased from the pool; see ``ModelPool.lease``."""
        with ExitStack() as stack:
            try:
                lease = self._pool.lease([*parts.sources.values(), *others], room, within)
                components = stack.enter_context(lease)
            finally:  # also if a network could not be loaded: those before it stay in memory
                self._keep_description(parts)
            yield components

    def _pause(self, watcher: Watcher) -> None:
        """Let other threads compute while the watcher pauses; called with the lock, between two steps."""
        self._release_threads()
        with self._lock.released(), self._slots.released():
            watcher.on_pause(True)
            try:
                while watcher.should_pause() and not watcher.should_stop():
                    time.sleep(PAUSE_POLL_INTERVAL)
            finally:
                watcher.on_pause(False)

    def _release_lock_around(self, watcher: Watcher) -> Watcher:
        """The watcher, called without the lock; it never pauses a picture whose memory another thread waits for."""

        def preview(progress: RunProgress) -> Image.Image | None:
            with self._lock:
                return progress.preview()

        def on_progress(progress: RunProgress) -> None:
            self._wait_policy.adjust()
            with self._lock.released():
                watcher.on_progress(replace(progress, preview=lambda: preview(progress)))

        def should_pause() -> bool:
            return watcher.should_pause() and not self._pool.has_waiters

        return replace(watcher, on_progress=on_progress, should_pause=should_pause)

    def _check_before_loading(
        self,
        request: GenerationRequest,
        checkpoint: Checkpoint,
        canvas: tuple[int, int] | None,
        settings: Settings,
    ) -> Plan:
        """Detect errors before gigabytes of weights are read; the native size of a single file is unknown then."""
        self._precisions_in(settings, checkpoint.family)
        scheduler = scheduler_config(checkpoint)
        plan = make_plan(
            request,
            checkpoint.family,
            scheduler,
            native_side=checkpoint.default_side(),
            canvas=canvas,
            patching=self._compiled.patching(checkpoint.family, self._backend),
        )
        check_compatible(plan.sampler_choice, scheduler)
        self._check_pixels(*plan.hires_size)
        self._check_prompts(plan)
        return plan

    def _check_prompts(self, plan: Plan) -> None:
        """Expand the prompts of all pictures: only the last one may choose a wildcard whose file is missing."""
        adapters = used_adapters(plan, self._settings.home)
        check_adapters(adapters, plan.family, self._settings)

    def _decode(
        self, source: ImageSource | None, background: tuple[int, int, int] | None = None
    ) -> Image.Image | None:
        limits = DecodeLimits.of(self._settings)
        if background is not None:
            limits = replace(limits, background=background)
        return None if source is None else decode(source, limits=limits).image

    def _checkpoint_ref(self, parts: CheckpointParts) -> CheckpointRef:
        """The record's reference to a checkpoint; one that was replaced on disk has another digest."""
        checkpoint = parts.checkpoint
        if checkpoint not in self._checkpoint_refs:
            self._checkpoint_refs[checkpoint] = CheckpointRef(
                name=checkpoint.name,
                family=checkpoint.family.name,
                digest=parts.digest,
                configs=checkpoint.configs_digest(self._settings.cache_folder),
                parts=tuple(
                    PartRef(
                        component=part.component,
                        name=part.path.name,
                        digest=parts.part_digests[part.component],
                    )
                    for part in checkpoint.parts
                    if part.component in parts.part_digests
                ),
            )
        return self._checkpoint_refs[checkpoint]

    def _describe(
        self,
        checkpoint: Checkpoint,
        settings: Settings | None = None,
        forms: Mapping[str, NetworkForm] = MappingProxyType({}),
    ) -> CheckpointParts:
        """A checkpoint's components; they are described once, as long as one of them is in memory or being loaded.

        Args:
            checkpoint: The checkpoint.
            settings: The precisions; those of the program when not given.
            forms: How the weights of networks are kept, where that is not whole on the device.
        """
        settings = settings or self._settings
        precisions, devices = self._precisions_in(settings, checkpoint.family), self._devices_in(settings)
        described = _Described(
            checkpoint, precisions, devices, tuple(sorted((n, form.name) for n, form in forms.items()))
        )
        with self._parts_lock:
            if (known := self._parts.get(described)) is not None:
                return known
        parts = describe_parts(
            checkpoint,
            precisions,
            devices,
            backend=self._backend,
            cache=self._settings.cache_folder,
            digests=self._digests,
            within=self._loading,
            forms=forms,
        )
        with self._parts_lock:
            for each, known in list(self._parts.items()):
                if not self._pool.has_any(known.keys):
                    del self._parts[each]
            return self._parts.setdefault(described, parts)

    def _settings_at(
        self, quality: Quality | None, family: Family, recorded: Machine | None = None
    ) -> Settings:
        """The settings of a run at a quality level; its precisions depend on what was measured on this machine."""
        return settings_of_run(
            self._settings, quality, family, str(self._device), self._compiled.speeds(), recorded
        )

    def _precisions(self, family: Family) -> ComponentPrecisions:
        """The precision of each component of a family's checkpoints.

        Raises:
            PrecisionError: The family or the device does not compute in the precision of the settings.
        """
        return resolve_precisions(self._settings, family, self._devices_in(self._settings))

    def _precisions_in(self, settings: Settings, family: Family) -> ComponentPrecisions:
        """The same with the settings of a run."""
        if settings is self._settings:
            return self._precisions(family)
        return resolve_precisions(settings, family, self._devices_in(settings))

    def _devices_in(self, settings: Settings) -> ComponentDevices:
        """Where each component is with the settings of a run; what may be kept there is known to the pool.

        Raises:
            BackendError: This machine does not have one of the devices.
        """
        found = resolve_devices(settings, self._device)
        for name, (device, _) in found.others.items():
            self._pool.budgets_elsewhere.setdefault(name, device_of(device).weights_budget(0))
        return found

    def _keep_description(self, parts: CheckpointParts) -> None:
        """Keep a description while one of its networks is in memory; others were described since it was made."""
        family = parts.checkpoint.family
        dtypes = {name: source.key.dtype for name, source in parts.sources.items()}
        encoders = {dtype for name, dtype in dtypes.items() if name.startswith("text_encoder")}
        levels: tuple[Quality, ...] = ("exact", "balanced")
        found = [self._settings_at(level, family) for level in levels]
        with self._parts_lock:
            if self._pool.has_any(parts.keys) and all(each is not parts for each in self._parts.values()):
                for settings in found:
                    precisions, devices = self._precisions_in(settings, family), self._devices_in(settings)
                    is_described = (
                        dtypes[family.denoiser] == precisions.denoiser
                        and encoders <= {precisions.text_encoders}
                        and dtypes.get("vae", precisions.vae) in (precisions.vae, precisions.fp16_vae)
                        and all(
                            source.key.device == devices.elsewhere(name)
                            for name, source in parts.sources.items()
                        )
                    )
                    if is_described:
                        self._parts.setdefault(_Described(parts.checkpoint, precisions, devices), parts)

    def _descriptions(self) -> list[CheckpointParts]:
        with self._parts_lock:
            return list(self._parts.values())

    def _loaded(self) -> list[CheckpointParts]:
        """The checkpoints of which all components are in memory."""
        return [parts for parts in self._descriptions() if parts.keys <= set(self._pool.keys)]

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Surrounds loading, which changes the libraries' default dtype."""
        with self._lock, self._memory_errors():
            try:
                yield
            finally:
                self._release_threads()

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        """Turn the device's lack of memory, and its failure, into our errors."""
        with broken_device_errors(self._device), exhaustion_errors(self._device):
            yield

    def _previewer(self, loaded: LoadedCheckpoint) -> LatentToRGB:
        """The map from latents to colours of a checkpoint, fitted for the first preview."""
        key = loaded.vae.key
        if key not in self._previewers:
            self._previewers[key] = fit_latent_to_rgb(in_memory(loaded.vae.network))
        return self._previewers[key]

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self._settings.max_pixels:
            raise MemoryBudgetError(
                f"{width} x {height} is more than the {self._settings.max_pixels} pixels a picture may have.",
                hint="Ask for a smaller picture, or raise the setting max_pixels.",
                field="width",
                context={"maximum": self._settings.max_pixels, "width": width, "height": height},
            )


def _eager_backend(setting: str, precision: str | None) -> str:
    """What networks are loaded for: a backend of a plug-in that compiles whole modules, else eager.

    Raises:
        BackendError: There is no such backend, or it does not run checkpoints in this precision.
    """
    if setting == AUTO_BACKEND:
        return EAGER
    backend = checkpoint_backend(setting, precision)
    return EAGER if backend.forms else backend.name


@dataclass(frozen=True)
class _RunContext:
    """What all stages of a run have in common.

    Args:
        watcher: Its callbacks.
        executor: Batches its calls; None to compute them alone.
        policy: Decides which backends compute its networks.
        init_image: The initial picture.
        mask: Its mask.
        control: The pictures of its controls.
    """

    watcher: Watcher
    executor: Executor | None
    policy: BackendPolicy
    init_image: Image.Image | None
    mask: Image.Image | None
    control: tuple[GivenPicture, ...]

    def stage(self, number: int) -> _RunContext:
        """The same for a stage, from 0, with what the record says that it ran on."""
        recorded = self.policy.recorded
        following = () if recorded is None else recorded.following
        if not 0 < number <= len(following):
            return self
        return replace(self, policy=replace(self.policy, recorded=following[number - 1]))


@dataclass(frozen=True)
class _Described:
    """What was described: a checkpoint, in some precisions and places, and in forms in place of the usual ones."""

    checkpoint: Checkpoint
    precisions: ComponentPrecisions
    devices: ComponentDevices
    forms: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _UpscalerNetwork:
    """An upscaler's file, and how its network is loaded."""

    file: UpscalerFile
    source: ComponentSource


def _sources_beside(
    networks: NetworkSources, upscaler: Upscaler | _UpscalerNetwork | None
) -> list[ComponentSource]:
    """What is leased with a checkpoint: the networks of modifiers, and the upscaler's as the last one."""
    sources = list(chain.from_iterable(own.values() for own in networks.values()))
    return [*sources, upscaler.source] if isinstance(upscaler, _UpscalerNetwork) else sources


def _bytes_beside(parts: CheckpointParts, others: Iterable[ComponentSource]) -> int:
    """Bytes of networks that are leased with a checkpoint, without those that it has itself."""
    return sum({source.key: source.nbytes for source in others if source.key not in parts.keys}.values())


def decoding_bytes(loaded: LoadedCheckpoint, width: int, height: int) -> int:
    """An estimate of the peak memory of decoding a picture, in bytes.

    The autoencoder's last stage works at full size with its second-narrowest width and holds about three such arrays.
    """
    config = loaded.vae.config
    widths = config.get("block_out_channels") or config.get("decoder_block_out_channels") or (128, 256)
    return int(width * height * max(widths[:2]) * loaded.vae.dtype.itemsize * 3)


def _canvas_size(request: GenerationRequest, init_image: Image.Image | None) -> tuple[int, int] | None:
    return request.canvas_size(None if init_image is None else init_image.size)
