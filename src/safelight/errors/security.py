"""Errors of access: keys, roles, hosts, origins, rate limits and quotas."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


class DeniedError(InputError):
    """The caller is not allowed to make the request."""

    code = "denied"
    summary = "This request is not allowed."
    http_status = 403


class KeyRequiredError(DeniedError):
    """The request has no key."""

    code = "denied.no_key"
    summary = "This server requires a key."
    default_hint = (
        "Send it as Authorization: Bearer KEY, as X-API-Key: KEY, or as the password of HTTP Basic "
        "with the key's name as the user; safelight keys add NAME makes one."
    )
    http_status = 401


class KeyInvalidError(DeniedError):
    """The key is invalid or revoked."""

    code = "denied.key"
    summary = "The key is wrong or has been revoked."
    default_hint = "safelight keys list shows the keys by name; with HTTP Basic the user is the key's name."
    http_status = 401


class RoleRequiredError(DeniedError):
    """The request requires the role admin."""

    code = "denied.role"
    summary = "Only administrators may do this."
    default_hint = "Use a key made with: safelight keys add NAME --role admin"


class HostRefusedError(DeniedError):
    """The request's Host header is not one of the server's names."""

    code = "denied.host"
    summary = "The server does not answer under this host name."
    default_hint = "Add the name to the setting allowed_hosts if it is this server's."


class OriginRefusedError(DeniedError):
    """The request comes from another web site's page."""

    code = "denied.origin"
    summary = "Pages of other web sites may not use this server."
    default_hint = "Add the page's origin to the setting cors_origins if it is to use this server."


class LimitError(SafelightError):
    """The caller exceeded a limit.

    Args:
        message: Which limit was exceeded.
        hint: What would be right.
        retry_after: Seconds after which the same request would be within the limit; None if it never would be.
    """

    code = "limit"
    summary = "This is more than you may ask for at this moment."
    default_hint = "Try again after the seconds that the header Retry-After says."
    http_status = 429

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RateLimitError(LimitError):
    """The caller exceeded a rate limit per minute."""

    code = "limit.rate"
    summary = "Too much was asked for within a minute."


class QuotaError(LimitError):
    """The key's daily quota is used up."""

    code = "limit.quota"
    summary = "The key's quota for today is used up."
    default_hint = "It is reset at midnight UTC; an administrator can give the key a larger one."


class OwnerJobsLimitError(LimitError):
    """The owner has too many waiting jobs."""

    code = "limit.queue"
    summary = "Too many of your jobs wait already."
    default_hint = "Submit more when some of them are done, or cancel some."


class OwnerBytesLimitError(LimitError):
    """The pictures of the owner's waiting jobs exceed the limit in bytes."""

    code = "limit.queue_bytes"
    summary = "The pictures of your waiting jobs take too much room."
    default_hint = "Submit more when some of the jobs are done, cancel some, or send smaller files."


class KeyNameError(InputError):
    """The key's name is invalid, taken or unknown."""

    code = "key.name"
    summary = "The key's name cannot be used."
    default_hint = "safelight keys list shows the keys by name."
