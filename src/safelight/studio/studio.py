"""The façade over the domains: the Python API, which every front door uses too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from safelight.images import DecodeLimits, ImageSource
from safelight.moderation.classifier import Classifier
from safelight.moderation.explain import Explainer, Explanation
from safelight.moderation.finding import find_pictures
from safelight.moderation.loading import load_classifier
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import Policy
from safelight.moderation.scan import Scan
from safelight.moderation.verdict import Judgement, Verdict
from safelight.runtime.machine import usable_cores
from safelight.settings import Settings


class Studio:
    """Judges pictures on this machine. Thread-safe; a classifier is loaded when it is first needed, once.

    Args:
        settings: Everything that can be set; from flags, environment and ``safelight.toml`` when not given.
        tell: Called with a line for the user when something takes longer.

    Example:
        >>> studio = Studio()
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
    ) -> Iterator[Judgement]:
        """Judge every picture in a folder, glob or Parquet table, in order; a bad file does not end the run.

        Args:
            target: What to look at; see ``moderation.finding.find_pictures``.
            report: Also write a report there (.jsonl, .csv or .parquet), once the iterator is exhausted.
            resume: Go on with an unfinished report.
            classifier: Another classifier than the setting's.
            policy: Another policy than the setting's.
        """
        moderator = self.moderator(classifier=classifier, policy=policy)
        if report is None:
            return moderator.judge_many(find_pictures(str(target)), workers=usable_cores())
        return Scan(moderator, str(target), report, resume=resume).run()

    def explain(self, source: ImageSource, *, classifier: str | None = None, frame: int = 0) -> Explanation:
        """A heat map of which parts moved the score; exact, and for open-nsfw only.

        Raises:
            ExplainUnsupportedError: Another classifier.
        """
        return self.explainer(classifier).explain(source, limits=self.limits, frame=frame)

    def explainer(self, classifier: str | None = None) -> Explainer:
        """What makes heat maps, to keep when there are many to make."""
        return Explainer(classifier or self.settings.classifier)

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
                self._classifiers[name] = load_classifier(self.settings, name, tell=self._tell)
            return self._classifiers[name]

    @property
    def limits(self) -> DecodeLimits:
        """The settings' limits on pictures."""
        chosen = self.settings
        return DecodeLimits(chosen.max_pixels, chosen.max_bytes, chosen.max_frames, chosen.background)
