"""Moderation of images: classifiers, policies, verdicts, scans, explanations and export."""

from safelight.moderation.classifiers.classifier import Classifier, ClassifierInfo, Prediction
from safelight.moderation.classifiers.loading import load_classifier
from safelight.moderation.moderator import Moderator
from safelight.moderation.policy import PRESETS, Decision, Policy
from safelight.moderation.verdict import Judgement, PolicyRef, Verdict

__all__ = [
    "PRESETS",
    "Classifier",
    "ClassifierInfo",
    "Decision",
    "Judgement",
    "Moderator",
    "Policy",
    "PolicyRef",
    "Prediction",
    "Verdict",
    "load_classifier",
]
