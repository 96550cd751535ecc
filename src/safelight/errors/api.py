"""Errors of HTTP requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safelight.errors.base import InputError
from safelight.errors.generation import RequestError


class RouteNotFoundError(InputError):
    """The server has no route for the path."""

    code = "request.path"
    summary = "There is nothing under this path."
    default_hint = "/docs lists every path."
    http_status = 404


class MethodNotAllowedError(InputError):
    """The path does not support the method."""

    code = "request.method"
    summary = "The path does not take this method."
    default_hint = "The header Allow says which it takes."
    http_status = 405


class BodyInvalidError(RequestError):
    """The request does not match the schema of its path.

    Its subclasses in ``errors.fields`` say of one field what is wrong with it.
    """

    code = "request.invalid"
    summary = "The request does not have the right shape."
    default_hint = "/docs shows the shape of every request."
    problems: Sequence[dict[str, Any]] = ()
    """All fields that are wrong, the first of which this error is about: field, code, message and context of each."""


class BodyTooLargeError(InputError):
    """The request's body is larger than the limit."""

    code = "request.too_large"
    summary = "The request is larger than the limit allows."
    default_hint = "Send less at once, or raise the setting max_request_bytes."
    http_status = 413


class BodyTimeoutError(InputError):
    """The request's body did not arrive in time."""

    code = "request.slow"
    summary = "The request's body took too long to arrive."
    default_hint = "Send it again over a faster connection, or raise the setting body_timeout."
    http_status = 408


class UnsupportedMediaTypeError(InputError):
    """The body has an unsupported media type."""

    code = "request.media_type"
    summary = "The request's body is of a type that cannot be read here."
    default_hint = "Send application/json, or multipart/form-data with pictures as parts of their own."
    http_status = 415


class NotAcceptableError(InputError):
    """The response is not available in any of the accepted media types."""

    code = "request.accept"
    summary = "Nothing that the request accepts can be given."
    default_hint = "Accept application/json, image/png, image/webp or image/jpeg."
    http_status = 406


class ImageEncodingError(InputError):
    """A text that should be an encoded picture is not."""

    code = "request.picture"
    summary = "The text is no picture."
    default_hint = "Give the file's bytes in base64, as they are or as a data URI."
    http_status = 422


class ImageUrlError(InputError):
    """The server does not fetch pictures from the URL."""

    code = "request.picture_url"
    summary = "The server does not fetch pictures from this address."
    default_hint = "Send the picture itself, in base64; docs/server.md says which addresses are fetched from."
    http_status = 422


class UnsupportedFieldError(RequestError):
    """A field of a compatible API requests something that Safelight does not support."""

    code = "request.field"
    summary = "A field of the request asks for something that Safelight does not do."
    default_hint = "docs/api-openai.md and docs/api-a1111.md list every field."


class TextModerationError(UnsupportedFieldError):
    """A text was sent for moderation, but no blocklist is set."""

    code = "moderation.text_unjudged"
    summary = "This server does not judge texts."
    default_hint = (
        "The setting text_blocklist names a list of words to judge them by; with moderation_texts = "
        '"skip" texts beside a picture are passed over.'
    )
    http_status = 400


class UnsupportedRouteError(InputError):
    """Safelight does not implement the route of a compatible API."""

    code = "api.absent"
    summary = "Safelight does not do this."
    default_hint = "docs/api-a1111.md and docs/api-openai.md list what it does."
    http_status = 501
