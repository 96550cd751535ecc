"""Errors of generation requests and of generating."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


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


class PromptUnsupportedError(PromptError):
    """A part of a prompt that means something to other programs and nothing here."""

    code = "prompt.unsupported"
    summary = "A part of the prompt asks for something that Safelight does not do."
    default_hint = "docs/prompts.md lists such parts, and how to write them as plain words."


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
