"""Every error a user can meet.

Each class carries a stable ``code``, one sentence that explains it, a hint that says what would be right,
an HTTP status and a command-line exit code. Nothing else is raised on purpose. ``catalogue()`` lists them;
``docs/errors.md`` is rendered from it and a test compares the two.
"""

from __future__ import annotations

from typing import ClassVar


class SafelightError(Exception):
    """A failure that Safelight understands.

    Args:
        message: What was wrong with this very input, in one sentence.
        hint: What would be right; the class's own hint when not given.
    """

    code: ClassVar[str] = "safelight"
    summary: ClassVar[str] = "Something Safelight understands went wrong."
    default_hint: ClassVar[str] = ""
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 3

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or self.summary
        self.hint = self.default_hint if hint is None else hint
        super().__init__(self.message)

    def to_dict(self) -> dict[str, str]:
        """The error as it appears in JSON output: code, message and, where there is one, a hint."""
        body = {"code": self.code, "message": self.message}
        return body | {"hint": self.hint} if self.hint else body


class InputError(SafelightError):
    """What the user gave cannot be used."""

    code = "input"
    summary = "The input cannot be used."
    http_status = 400
    exit_code = 2


class UsageError(InputError):
    """Options that contradict each other or are out of range."""

    code = "usage"
    summary = "The command or its options cannot be used like this."
    default_hint = "Run the command with --help."


class SettingsError(InputError):
    """A setting in safelight.toml, the environment or a flag is wrong."""

    code = "settings"
    summary = "A setting has a value that cannot be used."
    default_hint = "docs/settings.md lists every setting with its range."


class FileMissingError(InputError):
    """A path names nothing that can be read."""

    code = "file.missing"
    summary = "The file or folder does not exist or cannot be read."
    default_hint = "Check the path and its permissions."
    http_status = 404


class OutputError(InputError):
    """A result cannot be written where it was asked for."""

    code = "output"
    summary = "The result cannot be written there."
    default_hint = "Choose a folder you may write to, on a disk with space left."


class OutputExistsError(OutputError):
    """Writing would replace something that is already there."""

    code = "output.exists"
    summary = "The output is already there and would be replaced."
    default_hint = "Give another name, or pass --overwrite; a scan that was cut short goes on with --resume."
    http_status = 409


class ImageError(InputError):
    """A picture cannot be decoded."""

    code = "image"
    summary = "The picture cannot be read."
    http_status = 422


class ImageEmptyError(ImageError):
    """No bytes at all."""

    code = "image.empty"
    summary = "The file is empty."
    default_hint = "The upload or copy may have been cut short; send it again."


class ImageNotRecognisedError(ImageError):
    """The bytes are not those of any picture."""

    code = "image.not_recognised"
    summary = "The content is not a picture of any known format."
    default_hint = (
        "The content decides, not the file's extension: give a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
    )
    http_status = 415


class ImageFormatError(ImageError):
    """A picture format that Safelight does not open."""

    code = "image.format"
    summary = "This picture format is not opened."
    default_hint = "Convert it to JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
    http_status = 415


class ImageTruncatedError(ImageError):
    """The picture ends too early."""

    code = "image.truncated"
    summary = "The picture's data ends before the picture does."
    default_hint = "The upload or copy may have been cut short; send it again."


class ImageCorruptError(ImageError):
    """The picture's data contradicts itself."""

    code = "image.corrupt"
    summary = "The picture's data is damaged."
    default_hint = "Open and save it again with an image editor, if it opens there."


class ImageZeroSizeError(ImageError):
    """Width or height is zero."""

    code = "image.zero_size"
    summary = "The picture has no pixels."
    default_hint = "Width and height must both be at least 1."


class ImageTooManyPixelsError(ImageError):
    """More pixels than the limit, by the header's own word."""

    code = "image.too_many_pixels"
    summary = "The picture has more pixels than the limit allows."
    default_hint = "Make it smaller, or raise the setting max_pixels."
    http_status = 413


class ImageTooManyBytesError(ImageError):
    """More bytes than the limit."""

    code = "image.too_many_bytes"
    summary = "The file is larger than the limit allows."
    default_hint = "Make it smaller, or raise the setting max_bytes."
    http_status = 413


class ImageArrayError(ImageError):
    """An array or image object that is no picture."""

    code = "image.array"
    summary = "The array is not a picture."
    default_hint = (
        "Give height x width, or height x width x 1, 3 or 4 channels, "
        "as uint8, uint16, bool or floats in 0..1."
    )


class PolicyError(InputError):
    """A policy file that cannot be used."""

    code = "policy.invalid"
    summary = "The policy cannot be used."
    default_hint = (
        "docs/moderation.md shows a whole policy file; the presets are strict, standard and lenient."
    )


class PolicyLabelError(PolicyError):
    """Policy and classifier speak of different labels."""

    code = "policy.labels"
    summary = "The policy does not say what some of the classifier's labels mean."
    default_hint = "Name each of the classifier's labels in the policy, under [unsafe] or in the list safe."


class RequestError(InputError):
    """A generation request with a value that cannot be drawn."""

    code = "request"
    summary = "The request has a value that cannot be drawn."
    default_hint = "docs/generation.md lists every field with its range."
    http_status = 422


class PromptError(RequestError):
    """A prompt that cannot be read."""

    code = "prompt"
    summary = "The prompt's brackets or schedules cannot be read."
    default_hint = (
        "Write a literal bracket with a backslash before it; --explain-prompt shows how a prompt is read."
    )


class WildcardError(PromptError):
    """A wildcard without a file, or one that never ends."""

    code = "prompt.wildcard"
    summary = "A wildcard of the prompt cannot be filled in."
    default_hint = (
        "A wildcard __name__ is read from wildcards/name.txt in the data directory, one choice a line."
    )


class StyleUnknownError(RequestError):
    """A prompt style that is not there."""

    code = "prompt.style"
    summary = "There is no prompt style of that name."


class MaskError(RequestError):
    """A mask that does not fit its picture."""

    code = "request.mask"
    summary = "The mask cannot be used with this picture."
    default_hint = "Give a mask of the picture's own size, white where it is to be drawn anew."


class SamplerUnknownError(RequestError):
    """A sampler or sigma schedule of no known name."""

    code = "sampler.unknown"
    summary = "There is no sampler or sigma schedule of that name."
    http_status = 404


class SamplerUnfitError(RequestError):
    """A sampler that this checkpoint cannot be drawn with, or a schedule that this sampler does not take."""

    code = "sampler.unfit"
    summary = "The sampler does not fit the checkpoint, or the sigma schedule does not fit the sampler."


class UnsupportedError(RequestError):
    """Something the checkpoint's family cannot do."""

    code = "request.unsupported"
    summary = "The checkpoint's family cannot do that."


class MemoryBudgetError(RequestError):
    """A picture or model larger than the memory it may use."""

    code = "memory.budget"
    summary = "This would need more memory than it may use."
    default_hint = "Ask for a smaller picture, or raise the setting memory_budget."
    http_status = 413


class UpscalerUnknownError(RequestError):
    """An upscaler of no known name."""

    code = "upscaler.unknown"
    summary = "There is no upscaler of that name."
    http_status = 404


class StoppedError(SafelightError):
    """A run that was asked to stop."""

    code = "stopped"
    summary = "The run was stopped before it was done."
    http_status = 409


class NumbersError(SafelightError):
    """A network that gave no numbers."""

    code = "generation.numbers"
    summary = "The network's result is not finite: there is no picture in it."
    default_hint = "Another precision usually helps: fp32, or bf16 instead of fp16."


class BlockedError(SafelightError):
    """A picture that the policy keeps back."""

    code = "blocked"
    summary = "The policy blocks this picture, so it was neither used nor written."
    default_hint = (
        "The message says which score and threshold decided; docs/moderation.md tells about policies."
    )
    http_status = 403
    exit_code = 1


class RecordMissingError(InputError):
    """A picture that does not say how it was made."""

    code = "record.missing"
    summary = "The picture carries no record of how it was made."
    default_hint = "Records are lost where a program saves a picture without its metadata."
    http_status = 422


class RecordInvalidError(InputError):
    """A record that cannot be read."""

    code = "record.invalid"
    summary = "The picture's record cannot be read."
    http_status = 422


class ReproduceError(InputError):
    """What a record needs and this machine has not."""

    code = "record.reproduce"
    summary = "The picture cannot be made again here."
    http_status = 409


class ModelError(InputError):
    """A model that cannot be used."""

    code = "model"
    summary = "The model cannot be used."


class ClassifierUnknownError(ModelError):
    """A classifier name that means nothing."""

    code = "model.unknown"
    summary = "There is no classifier of that name."
    default_hint = (
        "Give open-nsfw, nsfw-image-detection-384, a pulled hub id, "
        "or a folder with config.json and model.safetensors."
    )
    http_status = 404


class ModelNotPulledError(ModelError):
    """A model that is not on this machine yet."""

    code = "model.not_pulled"
    summary = "The model is not on this machine, and nothing is fetched unless you ask."
    default_hint = "Fetch it once with: safelight models pull NAME"
    http_status = 404


class ModelInvalidError(ModelError):
    """Model files that contradict themselves or the layout."""

    code = "model.invalid"
    summary = "The model's files are damaged or of another layout."
    default_hint = "A classifier folder holds timm's config.json (with label_names) and model.safetensors."
    http_status = 422


class PickleRefusedError(ModelError):
    """Weights in a format that can run code when opened."""

    code = "model.pickle_refused"
    summary = "The weights are a pickle file, which can run any code when opened, so it is refused."
    default_hint = "Convert the weights to safetensors where you trust their origin, and give that file."
    http_status = 422


class CheckpointMissingError(ModelError):
    """A checkpoint that is not there."""

    code = "checkpoint.missing"
    summary = "There is no checkpoint of that name on this machine."
    default_hint = (
        "safelight models list shows the checkpoints; a path to a folder or .safetensors file works too."
    )
    http_status = 404


class CheckpointInvalidError(ModelError):
    """Checkpoint files that are damaged or incomplete."""

    code = "checkpoint.invalid"
    summary = "The checkpoint's files are damaged or incomplete."
    default_hint = "Give a diffusers folder with model_index.json, or one .safetensors file."
    http_status = 422


class CheckpointFamilyError(ModelError):
    """A checkpoint of a family that Safelight does not draw with."""

    code = "checkpoint.family"
    summary = "The checkpoint belongs to no family that Safelight knows."
    default_hint = "safelight models families lists them."
    http_status = 422


class DigestMismatchError(ModelError):
    """Weights that are not the ones that were pinned."""

    code = "model.digest"
    summary = "The weights are not the ones that were expected."
    default_hint = "Remove the model and pull it again; if it happens twice, do not trust the source."
    http_status = 422


class DownloadError(SafelightError):
    """A download that was asked for did not succeed."""

    code = "model.download"
    summary = "The download did not succeed."
    default_hint = "Check the connection and the name, and try again; nothing half-fetched was kept."
    http_status = 502


class ExplainUnsupportedError(InputError):
    """A classifier without an exact explanation map."""

    code = "explain.unsupported"
    summary = "This classifier has no exact explanation map."
    default_hint = "Heat maps are exact for open-nsfw only; use --classifier open-nsfw."
    http_status = 501


class BackendError(InputError):
    """A backend or precision that this machine or this network cannot give."""

    code = "backend.unavailable"
    summary = "The backend or precision that was asked for cannot run this network here."
    default_hint = "safelight doctor lists what this machine can run; auto lets a probe choose."
    http_status = 501


class ExportParityError(SafelightError):
    """An exported network that answers differently."""

    code = "export.parity"
    summary = "The exported network does not give the same answers, so it was not kept."
    default_hint = "Report this with the output of safelight doctor --json."


class ResumeMismatchError(InputError):
    """A report that another classifier or policy began."""

    code = "scan.resume_mismatch"
    summary = "The unfinished report was begun with another classifier or policy."
    default_hint = "Use the same options as before, or start over with --overwrite."
    http_status = 409


class ScanBusyError(InputError):
    """Two scans into one report."""

    code = "scan.busy"
    summary = "Another scan is writing this report."
    default_hint = "Wait until it ends, or give another name."
    http_status = 409


class PeerMissingError(InputError):
    """The other side of a comparison is not installed."""

    code = "bench.peer_missing"
    summary = "The peer to compare with is not known or not installed."


class InternalError(SafelightError):
    """A defect of Safelight."""

    code = "internal"
    summary = "Safelight failed in a way it does not understand: a defect."
    default_hint = (
        "Run again with SAFELIGHT_DEBUG=1 for the traceback, and report it with safelight doctor --json."
    )


def catalogue() -> list[type[SafelightError]]:
    """All error classes, parents before children, in the order they are written in this file."""

    def walk(parent: type[SafelightError]) -> list[type[SafelightError]]:
        return [parent, *(found for child in parent.__subclasses__() for found in walk(child))]

    return walk(SafelightError)
