"""Errors of access: keys, roles, hosts, origins, rate limits and quotas."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


class DeniedError(InputError):
    """A request that this caller may not make."""

    code = "denied"
    summary = "This request is not allowed."
    http_status = 403


class KeyRequiredError(DeniedError):
    """No key came with the request."""

    code = "denied.no_key"
    summary = "This server wants a key."
    default_hint = (
        "Send it as Authorization: Bearer KEY, as X-API-Key: KEY, or as the password of HTTP Basic "
        "with the key's name as the user; safelight keys add NAME makes one."
    )
    http_status = 401


class KeyInvalidError(DeniedError):
    """A key that is not, or no longer, valid."""

    code = "denied.key"
    summary = "The key is wrong or has been revoked."
    default_hint = "safelight keys list shows the keys by name; with HTTP Basic the user is the key's name."
    http_status = 401


class RoleError(DeniedError):
    """Something that only administrators may do."""

    code = "denied.role"
    summary = "Only administrators may do this."
    default_hint = "Use a key made with: safelight keys add NAME --role admin"


class HostRefusedError(DeniedError):
    """A request for a host name that is not this server's."""

    code = "denied.host"
    summary = "The server does not answer under this host name."
    default_hint = "Add the name to the setting allowed_hosts if it is this server's."


class OriginRefusedError(DeniedError):
    """A request that another web site's page made."""

    code = "denied.origin"
    summary = "Pages of other web sites may not use this server."
    default_hint = "Add the page's origin to the setting cors_origins if it is to use this server."


class LimitedError(SafelightError):
    """More than this caller may ask for.

    Args:
        message: Which limit it was.
        hint: What would be right.
        retry_after: Seconds after which the same request would be within the limit; None if it never would.
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


class RateLimitError(LimitedError):
    """Too much within a minute."""

    code = "limit.rate"
    summary = "Too much was asked for within a minute."


class QuotaError(LimitedError):
    """Too much within a day."""

    code = "limit.quota"
    summary = "The key's quota for today is used up."
    default_hint = "It begins anew at midnight UTC; an administrator can give the key a larger one."


class QueueShareError(LimitedError):
    """More jobs of one owner than may wait."""

    code = "limit.queue"
    summary = "Too many of your jobs wait already."
    default_hint = "Submit more when some of them are done, or cancel some."


class QueueBytesError(LimitedError):
    """More bytes of pictures than may wait with one owner's jobs."""

    code = "limit.queue_bytes"
    summary = "The pictures of your waiting jobs take too much room."
    default_hint = "Submit more when some of the jobs are done, cancel some, or send smaller files."


class KeyNameError(InputError):
    """A key's name that cannot be given, or names no key."""

    code = "key.name"
    summary = "The key's name cannot be used."
    default_hint = "safelight keys list shows the keys by name."
