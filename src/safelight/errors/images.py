"""Errors of decoding pictures."""

from __future__ import annotations

from safelight.errors.base import InputError


class ImageError(InputError):
    """The picture cannot be decoded."""

    code = "image"
    summary = "The picture cannot be read."
    http_status = 422


class ImageEmptyError(ImageError):
    """The file is empty."""

    code = "image.empty"
    summary = "The file is empty."
    default_hint = "The upload or copy may have been cut short; send it again."


class ImageNotRecognisedError(ImageError):
    """The bytes are not those of any known picture format."""

    code = "image.not_recognised"
    summary = "The content is not a picture of any known format."
    default_hint = (
        "The content decides, not the file's extension: give a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
    )
    http_status = 415


class ImageFormatError(ImageError):
    """The picture format is not supported."""

    code = "image.format"
    summary = "This picture format is not opened."
    default_hint = "Convert it to JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
    http_status = 415


class ImageTruncatedError(ImageError):
    """The picture's data is truncated."""

    code = "image.truncated"
    summary = "The picture's data ends before the picture does."
    default_hint = "The upload or copy may have been cut short; send it again."


class ImageCorruptError(ImageError):
    """The picture's data is inconsistent."""

    code = "image.corrupt"
    summary = "The picture's data is damaged."
    default_hint = "Open and save it again with an image editor, if it opens there."


class ImageZeroSizeError(ImageError):
    """Width or height is zero."""

    code = "image.zero_size"
    summary = "The picture has no pixels."
    default_hint = "Width and height must both be at least 1."


class ImageTooManyPixelsError(ImageError):
    """By its header, the picture has more pixels than the limit."""

    code = "image.too_many_pixels"
    summary = "The picture has more pixels than the limit allows."
    default_hint = "Make it smaller, or raise the setting max_pixels."
    http_status = 413


class ImageTooManyBytesError(ImageError):
    """The file has more bytes than the limit."""

    code = "image.too_many_bytes"
    summary = "The file is larger than the limit allows."
    default_hint = "Make it smaller, or raise the setting max_bytes."
    http_status = 413


class ImageArrayError(ImageError):
    """The array or image object is not a picture."""

    code = "image.array"
    summary = "The array is not a picture."
    default_hint = (
        "Give height x width, or height x width x 1, 3 or 4 channels, "
        "as uint8, uint16, bool or floats in 0..1."
    )
