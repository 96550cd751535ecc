"""The façade over generation and moderation: the API for Python programs, the command line and workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from safelight.errors import BlockedError, RequestError
from safelight.generation.request import GenerationRequest
from safelight.generation.upscaling.upscaler import UPSCALERS
from safelight.images import DecodeLimits, ImageSource, decode
from safelight.images.fields import FoundImage, replace_images
from safelight.images.metadata.file_metadata import read_metadata
from safelight.images.reader import read_bytes
from safelight.moderation.classifier import Classifier
from safelight.moderation.explain import Explainer, Explanation
from safelight.moderation.loading import load_classifier
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Policy
from safelight.moderation.scan import Scan
from safelight.moderation.sources import SkipCallback, find_images
from safelight.moderation.verdict import Judgement, Verdict
from safelight.runtime.machine import usable_cores
from safelight.settings import Settings
from safelight.studio.judged_run import JudgedRun
from safelight.studio.picture import Picture, is_blocked
from safelight.studio.reproduction import Original, Reproduction, compare
from safelight.studio.upscaled import Upscaled, add_upscaling

if TYPE_CHECKING:
    from safelight.generation.engine import Engine
    from safelight.generation.progress import Watcher
    from safelight.generation.prompts import PromptExplanation as PromptExplanation
    from safelight.generation.upscaling import Upscaler


class Studio:
    """Generates and judges pictures on this machine. Thread-safe; networks are loaded when they are first needed, once.

    Args:
        settings: Everything that can be set; from flags, environment and ``safelight.toml`` when not given.
        tell: Called with a line for the user when something takes longer.

    Example:
        >>> studio = Studio()
        >>> studio.generate("a red apple, 3d style", seed=7)[0].save("apple.png")
        >>> studio.moderate("upload.jpg").decision
        <Decision.ALLOW: 'allow'>
    """

    def __init__(
        self, settings: Settings | None = None, *, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings or Settings.load()
        self._tell = tell
        self._lock = threading.Lock()
        self._classifiers: dict[str, Classifier] = {}
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
        """All pictures of a request; those that the policy blocks come without pixels. See ``draw``.

        Args:
            prompt: What to generate, or a whole request.
            policy: Another policy than the setting's.
            watcher: Callbacks.
            fields: The other fields of ``GenerationRequest``.

        Raises:
            SafelightError: The request, the checkpoint, a picture or the policy cannot be used.
        """
        if isinstance(prompt, GenerationRequest):
            if fields:
                raise RequestError("Give a request, or a prompt with fields, not both.")
            return list(self.draw(prompt, policy=policy, watcher=watcher))
        return list(
            self.draw(GenerationRequest.parse(prompt=prompt, **fields), policy=policy, watcher=watcher)
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
        """Change a picture: all of it, what a mask marks, or beyond its edges. See ``draw``.

        Args:
            image: The picture to start from.
            prompt: What to generate.
            policy: Another policy than the setting's.
            watcher: Callbacks.
            fields: ``mask``, ``strength``, ``inpaint``, ``outpaint`` and the other fields of ``GenerationRequest``.
        """
        return self.generate(prompt, policy=policy, watcher=watcher, init_image=image, **fields)

    def draw(
        self,
        request: GenerationRequest,
        *,
        policy: str | Path | Policy | None = None,
        watcher: Watcher | None = None,
        alone: bool = False,
        skip: Collection[int] = (),
    ) -> Iterator[Picture]:
        """A request's pictures, one after the other; each passes the policy before it is returned.

        Requests of several threads are computed together.

        Args:
            request: What to generate.
            policy: Another policy than the setting's.
            watcher: Callbacks.
            alone: Compute nothing together with other threads' pictures, so that the result is exact to the bit.
            skip: Indices of pictures that are not needed, from 0.

        Raises:
            BlockedError: The policy blocks an input picture.
            SafelightError: The request, the checkpoint, a picture or the policy cannot be used.
        """
        yield from self.start(request, policy=policy, watcher=watcher, alone=alone).pictures(skip)

    def start(
        self,
        request: GenerationRequest,
        *,
        policy: str | Path | Policy | None = None,
        watcher: Watcher | None = None,
        alone: bool = False,
    ) -> JudgedRun:
        """Judge a request's input pictures, check and plan it; the run then generates its pictures.

        The arguments and errors are those of ``draw``.
        """
        gate = self.moderator(policy=policy)
        return JudgedRun(self.engine.start(self._judge_inputs(request, gate), watcher, alone=alone), gate)

    def upscale(
        self,
        image: ImageSource,
        *,
        by: float = 2.0,
        upscaler: str = "lanczos",
        policy: str | Path | Policy | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Upscaled:
        """Enlarge a picture; it passes the policy before and after.

        Args:
            image: The picture.
            by: Factor on width and height, 1 to 8.
            upscaler: Its name, or a file; see ``generation.upscaling``.
            policy: Another policy than the setting's.
            should_stop: Asked before each part of the work.

        Raises:
            RunStoppedError: should_stop said so.
            BlockedError: The policy blocks the picture.
            SafelightError: The picture, the upscaler or the policy cannot be used.
        """
        if not 1 <= by <= 8:
            raise RequestError(f"Enlarging by {by} is not possible.", hint="Give a factor of 1 to 8.")
        gate = self.moderator(policy=policy)
        data = (
            image if isinstance(image, Image.Image | np.ndarray) else read_bytes(image, self.limits.max_bytes)
        )
        pixels = self._judge_input(data, gate)
        infotext = read_metadata(data, limits=self.limits).infotext if isinstance(data, bytes) else None
        started = time.perf_counter()
        with self._upscaler(upscaler) as chosen:
            enlarged = chosen.upscale(
                pixels, by, max_pixels=self.settings.max_pixels, should_stop=should_stop
            )
        seconds = time.perf_counter() - started
        verdict = gate.judge(enlarged)
        kept = add_upscaling(infotext, by, chosen.name)
        return Upscaled(None if is_blocked(verdict) else enlarged, verdict, chosen.name, by, kept, seconds)

    def reproduce(
        self,
        source: ImageSource,
        *,
        init_image: ImageSource | None = None,
        mask: ImageSource | None = None,
        checkpoint: str | None = None,
        policy: str | Path | Policy | None = None,
    ) -> Reproduction:
        """Make a picture again from the record in its file, and say what differs.

        Args:
            source: The picture file.
            init_image: The picture it was generated from, if any: the record has only its digest.
            mask: Its mask, likewise.
            checkpoint: What its checkpoint is called here; as in the record when not given.
            policy: Another policy than the setting's.

        Raises:
            RecordMissingError, RecordInvalidError: It has no record, or a damaged one.
            NotReproducibleError: Something it needs is not given.
            SafelightError: The checkpoint is not here, or a picture cannot be used.
        """
        original = Original.read(source, self.limits)
        request = original.request(init_image, mask, self.limits)
        if checkpoint is not None:
            request = request.model_copy(update={"checkpoint": checkpoint})
        return compare(original, next(iter(self.draw(request, policy=policy, alone=True))), self.limits)

    def explain_prompt(self, request: GenerationRequest) -> dict[str, PromptExplanation]:
        """How a request's prompts are filled in, parsed, and split into the checkpoint's tokens.

        Raises:
            PromptError, ModelError: A prompt or the checkpoint cannot be used.
        """
        return self.engine.explain(request)

    @property
    def engine(self) -> Engine:
        """The engine; created when it is first needed, since its libraries take seconds to import."""
        with self._lock:
            if self._engine is None:
                from safelight.generation.engine import Engine

                self._engine = Engine(self.settings)
            return self._engine

    def preload(self, checkpoint: str | None = None) -> None:
        """Load the classifier and a checkpoint now instead of with the first picture.

        Args:
            checkpoint: Another one than the setting's.

        Raises:
            SafelightError: One of them cannot be used.
        """
        self.classifier()
        self.engine.preload(checkpoint or self.settings.checkpoint)

    def unload(self, checkpoint: str | None = None) -> None:
        """Free the memory of networks that are not in use; they are loaded again when they are needed.

        Args:
            checkpoint: Only of this checkpoint.
        """
        if self._engine is not None:
            self._engine.unload(checkpoint)

    def holds(self, checkpoint: str) -> bool:
        """Whether a checkpoint is in memory in the version that is on the disk now.

        Raises:
            SafelightError: It is in memory, and what lies on the disk cannot be used.
        """
        return self._engine is not None and self._engine.holds(checkpoint)

    @property
    def loaded_checkpoints(self) -> frozenset[str]:
        """Names of the checkpoints in memory; none before the first picture."""
        engine = self._engine
        return frozenset() if engine is None else engine.loaded_checkpoints

    def _upscaler(self, name: str) -> AbstractContextManager[Upscaler]:
        """An upscaler by its name; a network is leased from the engine."""
        if name in UPSCALERS:  # without the engine, whose libraries take seconds to import
            return nullcontext(UPSCALERS[name])
        return self.engine.lease_upscaler(name)

    def _judge_inputs(self, request: GenerationRequest, gate: Moderator) -> GenerationRequest:
        """The request with its judged input pictures decoded.

        Raises:
            BlockedError: The policy blocks one of them.
        """

        def admitted(found: FoundImage) -> object:
            if not found.field.judged:
                return found.value
            what = "initial picture" if found.path == ("init_image",) else f"picture {found.name}"
            return self._judge_input(found.value, gate, what)

        return replace_images(type(request), request, admitted)

    def _judge_input(
        self, source: ImageSource, gate: Moderator, what: str = "initial picture"
    ) -> Image.Image:
        verdict = gate.judge(image := decode(source, limits=self.limits).image)
        if is_blocked(verdict):
            raise BlockedError(
                f"The policy {verdict.policy.name} blocks the {what}: unsafe {verdict.unsafe:.4f}."
            )
        return image

    def moderate(
        self, source: ImageSource, *, classifier: str | None = None, policy: str | Path | Policy | None = None
    ) -> Verdict:
        """Judge one picture.

        Args:
            source: A path, bytes, a file object, a PIL image or a numpy array.
            classifier: Another classifier than the setting's.
            policy: Another policy than the setting's: a preset, a file or a Policy.

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
        skipped: SkipCallback = lambda _path, _reason: None,
    ) -> Iterator[Judgement]:
        """Judge every picture in a folder, glob or Parquet table, in order; a bad file does not end the run.

        Args:
            target: What to look at; see ``moderation.finding.find_pictures``.
            report: Also write a report there (.jsonl, .csv or .parquet), once the iterator is exhausted.
            resume: Go on with an unfinished report.
            classifier: Another classifier than the setting's.
            policy: Another policy than the setting's.
            only_known: Go by files' names alone, and look into none that is not named like a picture.
            skipped: Called with the path of each file that is not judged, and the reason.
        """
        moderator = self.moderator(classifier=classifier, policy=policy)
        if report is None:
            found = find_images(str(target), only_known=only_known, on_skip=skipped)
            return moderator.judge_many(found, workers=usable_cores())
        return Scan(moderator, str(target), report, resume=resume, only_known=only_known).run(on_skip=skipped)

    def explain(self, source: ImageSource, *, classifier: str | None = None, frame: int = 0) -> Explanation:
        """A heat map of which parts moved the score; exact, and for open-nsfw only.

        Raises:
            ExplanationUnsupportedError: Another classifier.
        """
        return self.explainer(classifier).explain(source, limits=self.limits, frame=frame)

    def explainer(self, classifier: str | None = None) -> Explainer:
        """What makes heat maps, loaded at most once.

        Raises:
            ExplanationUnsupportedError: The classifier has no exact explanation map.
        """
        name = classifier or self.settings.classifier
        with self._lock:
            if name not in self._explainers:
                self._explainers[name] = Explainer(name)
            return self._explainers[name]

    def moderator(
        self, *, classifier: str | None = None, policy: str | Path | Policy | None = None
    ) -> Moderator:
        """A classifier and a policy together, to keep when there are many pictures to judge."""
        rules = policy if isinstance(policy, Policy) else Policy.load(policy or self.settings.policy)
        return Moderator(self.classifier(classifier), rules, self.limits, self.settings.tiles)

    def classifier(self, name: str | None = None) -> Classifier:
        """A classifier, loaded at most once."""
        name = name or self.settings.classifier
        with self._lock:
            if name not in self._classifiers:
                self._classifiers[name] = load_classifier(self.settings, name, on_message=self._tell)
            return self._classifiers[name]

    @property
    def limits(self) -> DecodeLimits:
        """The settings' limits on pictures."""
        return DecodeLimits.of(self.settings)
