"""Errors of policies, blocklists, heat maps, exports and scans."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


class PolicyError(InputError):
    """The policy cannot be used."""

    code = "policy.invalid"
    summary = "The policy cannot be used."
    default_hint = (
        "docs/moderation.md shows a whole policy file; the presets are strict, standard and lenient."
    )


class PolicyLabelError(PolicyError):
    """The policy does not cover the classifier's labels."""

    code = "policy.labels"
    summary = "The policy does not say what some of the classifier's labels mean."
    default_hint = "Name each of the classifier's labels in the policy, under [unsafe] or in the list safe."


class BlockedError(SafelightError):
    """The policy blocks the picture."""

    code = "blocked"
    summary = "The policy blocks this picture, so it was neither used nor written."
    default_hint = (
        "The message says which score and threshold decided; docs/moderation.md describes policies."
    )
    http_status = 403
    exit_code = 1


class BlocklistError(SafelightError):
    """The text blocklist cannot be used."""

    code = "moderation.blocklist"
    summary = "The list of words that texts are judged by cannot be used."
    default_hint = (
        "The setting text_blocklist is the path of a text file in UTF-8, with a word or phrase a line."
    )


class ExplanationUnsupportedError(InputError):
    """The classifier has no exact heat map."""

    code = "explain.unsupported"
    summary = "This classifier has no exact explanation map."
    default_hint = "Heat maps are exact for open-nsfw only; use --classifier open-nsfw."
    http_status = 501


class ExportParityError(SafelightError):
    """The exported network's outputs differ from the original's."""

    code = "export.parity"
    summary = "The exported network does not give the same answers, so it was not kept."
    default_hint = "Report this with the output of safelight doctor --json."


class ResumeMismatchError(InputError):
    """The report was started with another classifier or policy."""

    code = "scan.resume_mismatch"
    summary = "The unfinished report was begun with another classifier or policy."
    default_hint = "Use the same options as before, or start over with --overwrite."
    http_status = 409


class ScanBusyError(InputError):
    """Another scan writes the report."""

    code = "scan.busy"
    summary = "Another scan is writing this report."
    default_hint = "Wait until it ends, or give another name."
    http_status = 409
