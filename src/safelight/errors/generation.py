"""Errors of generation requests and of generating."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


class RequestError(InputError):
    """A value of a generation request is invalid."""

    code = "request"
    summary = "The request has a value that cannot be used."
    default_hint = "docs/generation.md lists every field with its range."
    http_status = 422


class PromptError(RequestError):
    """The prompt cannot be parsed."""

    code = "prompt"
    default_field = "prompt"
    summary = "The prompt's brackets or schedules cannot be read."
    default_hint = (
        "Write a literal bracket with a backslash before it; --explain-prompt shows how a prompt is read."
    )


class WildcardError(PromptError):
    """A wildcard has no file, or its expansion does not end."""

    code = "prompt.wildcard"
    summary = "A wildcard of the prompt cannot be filled in."
    default_hint = (
        "A wildcard __name__ is read from wildcards/name.txt in the data directory, one choice a line."
    )


class PromptUnsupportedError(PromptError):
    """The prompt uses syntax of other programs that Safelight does not support."""

    code = "prompt.unsupported"
    summary = "A part of the prompt asks for something that Safelight does not do."
    default_hint = "docs/prompts.md lists such parts, and how to write them as plain words."


class StyleUnknownError(RequestError):
    """There is no such prompt style."""

    code = "prompt.style"
    default_field = "styles"
    summary = "There is no prompt style of that name."


class MaskError(RequestError):
    """The mask does not match its picture."""

    code = "request.mask"
    default_field = "mask"
    summary = "The mask cannot be used with this picture."
    default_hint = "Give a mask of the picture's own size, white where the picture is to be generated anew."


class ReferenceSizeError(RequestError):
    """A reference has a size that the checkpoint does not look at."""

    code = "request.reference"
    default_field = "references"
    summary = "A reference has a size that the checkpoint cannot look at."


class SamplerUnknownError(RequestError):
    """There is no such sampler or sigma schedule."""

    code = "sampler.unknown"
    default_field = "sampler"
    summary = "There is no sampler or sigma schedule of that name."
    http_status = 404


class SamplerIncompatibleError(RequestError):
    """The checkpoint does not support the sampler, or the sampler does not support the sigma schedule."""

    code = "sampler.unfit"
    default_field = "sampler"
    summary = "The sampler does not fit the checkpoint, or the sigma schedule does not fit the sampler."


class UnsupportedError(RequestError):
    """The checkpoint's family does not support what was requested."""

    code = "request.unsupported"
    summary = "The checkpoint's family cannot do that."


class UpscalerUnknownError(RequestError):
    """There is no such upscaler."""

    code = "upscaler.unknown"
    default_field = "upscaler"
    summary = "There is no upscaler of that name."
    http_status = 404


class PreprocessorUnknownError(RequestError):
    """There is no such preprocessor."""

    code = "preprocessor.unknown"
    default_field = "preprocessor"
    summary = "There is no preprocessor of that name."
    default_hint = "GET /v1/preprocessors and safelight preprocess --list name all of them."
    http_status = 404


class ExtraMissingError(InputError):
    """An optional extra of Safelight is not installed."""

    code = "extra.missing"
    summary = "What was asked for needs an optional extra of Safelight that is not installed."
    http_status = 422


class ControlModelMissingError(InputError):
    """A preprocessor needs a model that is not on this machine."""

    code = "preprocessor.model"
    summary = "The preprocessor needs a model that is not on this machine."
    http_status = 422


class PersonMissingError(InputError):
    """Nobody is to be seen in a picture whose pose is wanted."""

    code = "preprocessor.nobody"
    summary = "There is nobody in the picture whose pose could be drawn."
    http_status = 422


class RunStoppedError(SafelightError):
    """The run was cancelled."""

    code = "stopped"
    summary = "The run was stopped before it was done."
    http_status = 409


class NonFiniteError(SafelightError):
    """The network returned NaN or infinity."""

    code = "generation.numbers"
    summary = "The network's result is not finite: there is no picture in it."
    default_hint = "Another precision usually helps: fp32, or bf16 instead of fp16."
