"""The façade over generation and moderation: the API for Python programs, the command line and workers."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from safelight.errors import BlockedError, RequestError
from safelight.generation.adapters.recorded import RecordedFiles
from safelight.generation.control.preprocessors import PreprocessContext, find_preprocessor
from safelight.generation.defaults import with_checkpoint_defaults
from safelight.generation.request import MAX_UPSCALE, GenerationRequest
from safelight.generation.upscaling.upscaler import UPSCALERS
from safelight.images import DecodeLimits, ImageSource, decode
from safelight.images.fields import FoundImage, replace_images
from safelight.images.metadata.file_metadata import read_metadata
from safelight.images.reader import read_bytes
from safelight.moderation.classifiers.classifier import Classifier
from safelight.moderation.classifiers.loading import load_classifier
from safelight.moderation.explain import Explainer, Explanation
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Policy
from safelight.moderation.scan.runner import Scan
from safelight.moderation.scan.sources import SkipCallback, find_images
from safelight.moderation.verdict import Judgement, Verdict
from safelight.runtime.allocator import collection_paused
from safelight.runtime.machine import usable_cores
from safelight.runtime.pool import ModelPool, host_budget
from safelight.settings import Settings
from safelight.studio.judged_run import JudgedRun
from safelight.studio.picture import Picture, is_blocked
from safelight.studio.preprocessed import Preprocessed
from safelight.studio.reproduction import Original, Reproduction, compare
from safelight.studio.upscaled import Upscaled, add_upscaling

if TYPE_CHECKING:
    from safelight.generation.engine import Engine
    from safelight.generation.progress import Watcher
    from safelight.generation.prompts import PromptExplanation as PromptExplanation
    from safelight.generation.record import Machine
    from safelight.generation.upscaling import Upscaler


class Studio:
    """Generates and judges pictures on this machine. Thread-safe; networks are loaded once, on first use.

    Args:
        settings: All settings; from flags, environment and ``safelight.toml`` when not given.
        on_message: Called with a message for the user when something takes longer.

    Example:
        >>> studio = Studio()
        >>> studio.generate("a red apple, 3d style", seed=7)[0].save("apple.png")
        >>> studio.moderate("upload.jpg").decision
        <Decision.ALLOW: 'allow'>
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_message: Callable[[str], None] = lambda _: None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        if tell is not None:
            warnings.warn("Studio(tell=) is called on_message now.", DeprecationWarning, stacklevel=2)
            on_message = tell
        self.settings = settings or Settings.load()
        self._on_message = on_message
        self._lock = threading.Lock()
        self._pool = ModelPool(host_budget(self.settings.memory_budget))
        self._classifiers: dict[str, Classifier] = {}
        self._classifier_locks: dict[str, threading.Lock] = {}
        self._explainers: dict[str, Explainer] = {}
        self._engine: Engine | None = None

    def generate(
        self,
        prompt: str | GenerationRequest,
        *,
        policy: str | Path | Policy | None = None,
        watcher: Watcher | None = None,
        **fields: Any,
    ) -> list[Picture]:
        """All pictures of a request; blocked ones have no pixels. See ``iter_generate``.

        Args:
            prompt: What to generate, or a whole request.
            policy: Replaces the policy of the settings.
            watcher: Callbacks for progress and stopping.
            fields: The other fields of ``GenerationRequest``.

        Raises:
            SafelightError: The request, the checkpoint, a picture or the policy cannot be used.
        """
        if isinstance(prompt, GenerationRequest):
            if fields:
                raise RequestError("Give a request, or a prompt with fields, not both.")
            return list(self.iter_generate(prompt, policy=policy, watcher=watcher))
        return list(
            self.iter_generate(
                GenerationRequest.parse(prompt=prompt, **fields), policy=policy, watcher=watcher
            )
        )

    def edit(
        self,
        image: ImageSource,
        prompt: str,
        *,
        policy: str | Path | Policy | None = None,
        watcher: Watcher | None = None,
        **fields: Any,
    ) -> list[Picture]:
        """Change a picture: all of it, the part that a mask marks, or beyond its edges. See ``iter_generate``.

        Args:
            image: The picture to start from.
            prompt: What to generate.
            policy: Replaces the policy of the settings.
            watcher: Callbacks for progress and stopping.
            fields: ``mask``, ``strength``, ``inpaint``, ``outpaint`` and the other fields of ``GenerationRequest``.
        """
        return self.generate(prompt, policy=policy, watcher=watcher, init_image=image, **fields)

    def iter_generate(
        self,
        request: GenerationRequest,
        *,
        policy: str | Path | Policy | None = None,
        watcher: Watcher | None = None,
        unbatched: bool = False,
        skip: Collection[int] = (),
        recorded: Machine | None = None,
    ) -> Iterator[Picture]:
        """Generate a request's pictures one by one; each is judged before it is returned.

        Requests of several threads are batched.

        Args:
            request: What to generate.
            policy: Replaces the policy of the settings.
            watcher: Callbacks for progress and stopping.
            unbatched: Do not batch with pictures of other threads, so that the result is exact to the bit.
            skip: Indices of pictures that are not needed, from 0.
            recorded: What a picture's record says that it ran on, to compute it again with the same precisions and
                backends.

        Raises:
            BlockedError: The policy blocks an input picture.
            SafelightError: The request, the checkpoint, a picture or the policy cannot be used.
        """
        request = with_checkpoint_defaults(request, self.settings)
        run = self.start(request, policy=policy, watcher=watcher, unbatched=unbatched, recorded=recorded)
        yield from run.pictures(skip)

    def draw(
        self,
        request: GenerationRequest,
        *,
        policy: str | Path | Policy | None = None,
        watcher: Watcher | None = None,
        alone: bool = False,
    ) -> Iterator[Picture]:
        """The former name of ``iter_generate``, where ``alone`` is ``unbatched``."""
        warnings.warn("Studio.draw is called iter_generate now.", DeprecationWarning, stacklevel=2)
        return self.iter_generate(request, policy=policy, watcher=watcher, unbatched=alone)

    def start(
        self,
        request: GenerationRequest,
        *,
        policy: str | Path | Policy | None = None,
        watcher: Watcher | None = None,
        unbatched: bool = False,
        recorded: Machine | None = None,
    ) -> JudgedRun:
        """Judge a request's input pictures, check and plan it; returns a run that generates its pictures.

        Arguments and errors are those of ``iter_generate``.
        """
        moderator = self.moderator(policy=policy)
        judged = self._judge_inputs(request, moderator)
        run = self.engine.start(judged, watcher, unbatched=unbatched, recorded=recorded)
        return JudgedRun(run, moderator)

    def upscale(
        self,
        image: ImageSource,
        *,
        by: float = 2.0,
        upscaler: str = "lanczos",
        policy: str | Path | Policy | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Upscaled:
        """Upscale a picture, which is judged before and after.

        Args:
            image: The picture.
            by: Factor on width and height, 1 to ``MAX_UPSCALE``.
            upscaler: Its name, or a file; see ``generation.upscaling``.
            policy: Replaces the policy of the settings.
            should_stop: Called before each part of the work; True stops it.

        Raises:
            RunStoppedError: ``should_stop`` returned True.
            BlockedError: The policy blocks the picture.
            SafelightError: The picture, the upscaler or the policy cannot be used.
        """
        if not 1 <= by <= MAX_UPSCALE:
            raise RequestError(
                f"Enlarging by {by} is not possible.", hint=f"Give a factor of 1 to {MAX_UPSCALE}."
            )
        moderator = self.moderator(policy=policy)
        data = (
            image if isinstance(image, Image.Image | np.ndarray) else read_bytes(image, self.limits.max_bytes)
        )
        pixels = self._judge_input(data, moderator)
        infotext = read_metadata(data, limits=self.limits).infotext if isinstance(data, bytes) else None
        started, tiles = time.perf_counter(), Counter[str]()
        with self._upscaler(upscaler, tiles) as network:
            upscaled = network.upscale(
                pixels, by, max_pixels=self.settings.max_pixels, should_stop=should_stop
            )
        seconds = time.perf_counter() - started
        verdict = moderator.judge(upscaled)
        new_infotext = add_upscaling(infotext, by, network.name)
        return Upscaled(
            None if is_blocked(verdict) else upscaled, verdict, network.name, by, new_infotext, seconds, tiles
        )

    def preprocess(
        self,
        image: ImageSource,
        preprocessor: str,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        *,
        resolution: int | None = None,
        policy: str | Path | Policy | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Preprocessed:
        """Make the picture that steers a generation from another: its edges, lines, pose, colours and so on.

        The picture is judged before, and the result too.

        Args:
            image: The picture.
            preprocessor: Its name or an alias; see ``generation.control.preprocessors``.
            parameters: Its parameters by name.
            resolution: The result's shorter side, in pixels; None: as large as the picture.
            policy: Replaces the policy of the settings.
            should_stop: Called between parts of the work; True stops it.

        Raises:
            PreprocessorUnknownError: There is no such preprocessor.
            FieldError: A parameter or the resolution cannot be used.
            RunStoppedError: ``should_stop`` returned True.
            BlockedError: The policy blocks the picture.
            SafelightError: The picture, the preprocessor's model or the policy cannot be used.
        """
        found = find_preprocessor(preprocessor)
        checked = found.parse(parameters)
        moderator = self.moderator(policy=policy)
        pixels = self._judge_input(image, moderator, "picture to preprocess")
        started = time.perf_counter()
        result = found.run(
            pixels, parameters, resolution=resolution, context=self.preprocess_context(should_stop)
        )
        seconds = time.perf_counter() - started
        verdict = moderator.judge(result)
        shown = None if is_blocked(verdict) else result
        return Preprocessed(shown, verdict, found.name, checked.model_dump(), seconds)

    def preprocess_context(self, should_stop: Callable[[], bool] | None = None) -> PreprocessContext:
        """What preprocessors need: the settings, and the pool that networks share."""
        return PreprocessContext(self.settings, self._pool, should_stop)

    def reproduce(
        self,
        source: ImageSource,
        *,
        init_image: ImageSource | None = None,
        mask: ImageSource | None = None,
        control: Sequence[ImageSource] = (),
        references: Sequence[ImageSource] = (),
        checkpoint: str | None = None,
        policy: str | Path | Policy | None = None,
    ) -> Reproduction:
        """Reproduce a picture from the record in its file, and describe the differences.

        Args:
            source: The picture file.
            init_image: The initial picture, if it had one: the record has only its digest.
            mask: Its mask, likewise.
            control: The pictures and masks of its controls, likewise, in any order.
            references: The pictures that the model looked at, likewise.
            checkpoint: The checkpoint's name on this machine; as in the record when not given.
            policy: Replaces the policy of the settings.

        Raises:
            RecordMissingError, RecordInvalidError: It has no record, or an invalid one.
            NotReproducibleError: An input picture is missing, or is not the right one.
            SafelightError: The checkpoint is missing, or a picture cannot be used.
        """
        original = Original.read(source, self.limits)
        files = RecordedFiles(self.settings)
        request = original.request(init_image, mask, self.limits, files, control, references)
        if checkpoint is not None:
            request = request.model_copy(update={"checkpoint": checkpoint})
        pictures = self.iter_generate(
            request, policy=policy, unbatched=True, recorded=original.record.machine
        )
        return compare(original, next(iter(pictures)), self.limits)

    def explain_prompt(self, request: GenerationRequest) -> dict[str, PromptExplanation]:
        """How a request's prompts are expanded, parsed, and split into the checkpoint's tokens.

        Raises:
            PromptError, ModelError: A prompt or the checkpoint cannot be used.
        """
        return self.engine.explain(request)

    @property
    def engine(self) -> Engine:
        """The engine, created on first use, since its libraries take seconds to import."""
        if (engine := self._engine) is not None:
            return engine
        with self._lock:
            if self._engine is None:
                with collection_paused():
                    from safelight.generation.engine import Engine

                self._engine = Engine(self.settings, self._pool)
            return self._engine

    def preload(self, checkpoint: str | None = None) -> None:
        """Load the classifier and a checkpoint before the first picture.

        Args:
            checkpoint: Its name; the one of the settings when not given.

        Raises:
            SafelightError: One of them cannot be used.
        """
        self.classifier()
        self.engine.preload(checkpoint or self.settings.checkpoint)

    def unload(self, checkpoint: str | None = None) -> None:
        """Free the memory of unused networks; they are loaded again when they are needed.

        Args:
            checkpoint: Only this checkpoint.
        """
        if checkpoint is None:
            self._pool.evict()
        elif self._engine is not None:
            self._engine.unload(checkpoint)

    def is_loaded(self, checkpoint: str) -> bool:
        """Whether the current version of a checkpoint on disk is in memory.

        Raises:
            SafelightError: It is in memory, and the version on disk cannot be used.
        """
        return self._engine is not None and self._engine.is_loaded(checkpoint)

    @property
    def loaded_checkpoints(self) -> frozenset[str]:
        """The names of the checkpoints in memory."""
        engine = self._engine
        return frozenset() if engine is None else engine.loaded_checkpoints

    def _upscaler(self, name: str, tiles: Counter[str]) -> AbstractContextManager[Upscaler]:
        """The upscaler with a name; one with a network is leased from the engine, and counts its tiles."""
        if name in UPSCALERS:  # without the engine, whose libraries take seconds to import
            return nullcontext(UPSCALERS[name])
        return self.engine.lease_upscaler(name, tiles)

    def _judge_inputs(self, request: GenerationRequest, moderator: Moderator) -> GenerationRequest:
        """The request with its input pictures judged and decoded.

        Raises:
            BlockedError: The policy blocks one of them.
        """

        def admitted(found: FoundImage) -> object:
            if not found.field.judged:
                return found.value
            description = "initial picture" if found.path == ("init_image",) else f"picture {found.name}"
            return self._judge_input(found.value, moderator, description)

        return replace_images(type(request), request, admitted)

    def _judge_input(
        self, source: ImageSource, moderator: Moderator, description: str = "initial picture"
    ) -> Image.Image:
        verdict = moderator.judge(image := decode(source, limits=self.limits).image)
        if is_blocked(verdict):
            raise BlockedError(
                f"The policy {verdict.policy.name} blocks the {description}: unsafe {verdict.unsafe:.4f}."
            )
        return image

    def moderate(
        self, source: ImageSource, *, classifier: str | None = None, policy: str | Path | Policy | None = None
    ) -> Verdict:
        """Judge one picture.

        Args:
            source: A path, bytes, a file object, a PIL image or a numpy array.
            classifier: Replaces the classifier of the settings.
            policy: Replaces the policy of the settings: a preset, a file or a Policy.

        Raises:
            SafelightError: The picture, the classifier or the policy cannot be used.
        """
        return self.moderator(classifier=classifier, policy=policy).judge(source)

    def scan(
        self,
        target: str | Path,
        *,
        report: Path | None = None,
        resume: bool = False,
        classifier: str | None = None,
        policy: str | Path | Policy | None = None,
        only_known: bool = False,
        on_skip: SkipCallback = lambda _path, _reason: None,
    ) -> Iterator[Judgement]:
        """Judge every picture in a folder, glob or Parquet table, in order; an unreadable file does not end the scan.

        Args:
            target: What to scan; see ``moderation.sources.find_images``.
            report: Also write a report to this file (.jsonl, .csv or .parquet), once the iterator is exhausted.
            resume: Continue an unfinished report.
            classifier: Replaces the classifier of the settings.
            policy: Replaces the policy of the settings.
            only_known: Select files by their names alone, without reading those whose suffix is not a picture's.
            on_skip: Called with the path of each file that is not judged, and the reason.
        """
        moderator = self.moderator(classifier=classifier, policy=policy)
        if report is None:
            found = find_images(str(target), only_known=only_known, on_skip=on_skip)
            return moderator.judge_many(found, workers=usable_cores())
        return Scan(moderator, str(target), report, resume=resume, only_known=only_known).run(on_skip=on_skip)

    def explain(self, source: ImageSource, *, classifier: str | None = None, frame: int = 0) -> Explanation:
        """A heat map of the parts that influenced the score; exact, for open-nsfw only.

        Raises:
            ExplanationUnsupportedError: The classifier has no exact explanation map.
        """
        return self.explainer(classifier).explain(source, limits=self.limits, frame=frame)

    def explainer(self, classifier: str | None = None) -> Explainer:
        """The explainer that makes heat maps, loaded at most once.

        Raises:
            ExplanationUnsupportedError: The classifier has no exact explanation map.
        """
        name = classifier or self.settings.classifier
        if (explainer := self._explainers.get(name)) is not None:
            return explainer
        with self._lock:
            if name not in self._explainers:
                self._explainers[name] = Explainer(name)
            return self._explainers[name]

    def moderator(
        self, *, classifier: str | None = None, policy: str | Path | Policy | None = None
    ) -> Moderator:
        """A classifier with a policy, to be reused for many pictures."""
        rules = policy if isinstance(policy, Policy) else Policy.load(policy or self.settings.policy)
        return Moderator(self.classifier(classifier), rules, self.limits, self.settings.tiles)

    def classifier(self, name: str | None = None) -> Classifier:
        """A classifier, loaded on first use; its network is in the memory budget, and evicted while it is idle."""
        name = name or self.settings.classifier
        if (classifier := self._classifiers.get(name)) is not None:
            return classifier
        with self._classifier_lock(name):
            if name not in self._classifiers:
                loaded = load_classifier(self.settings, name, pool=self._pool, on_message=self._on_message)
                self._classifiers.setdefault(name, loaded)
            return self._classifiers[name]

    def _classifier_lock(self, name: str) -> AbstractContextManager[object]:
        """Lets threads load a classifier one after the other, and use everything else meanwhile.

        Loading may wait for memory that others lease. So a thread that leases some itself does not wait for those that
        load the classifier.
        """
        if self._pool.is_leased_by_this_thread:
            return nullcontext()
        with self._lock:
            return self._classifier_locks.setdefault(name, threading.Lock())

    @property
    def limits(self) -> DecodeLimits:
        """The limits on pictures from the settings."""
        return DecodeLimits.of(self.settings)
