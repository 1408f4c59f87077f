"""
The whole error tree, by whose fault it is; each class carries its HTTP status and its code of api.md §1.

PeniaError
├─ CallerError                        the caller's; never cured by waiting, unless it says so
│  ├─ InvalidRequest      400  invalid_request
│  ├─ BudgetExceeded      402  budget_exceeded      would not fit even if nothing were in flight
│  ├─ ApprovalRequired    402  approval_required    would not fit, until somebody grants the budget more
│  ├─ UnpricedModel       402  unpriced_model       no price known, and a budget requires one
│  ├─ UnboundedCall       402  unbounded_call       no upper bound of its cost exists, and a budget requires one
│  ├─ Forbidden           403  forbidden            REST: another site's page, or a foreign Host
│  ├─ UnknownProvider     404  unknown_provider
│  ├─ UnmeteredRoute      404  unmetered_route
│  ├─ NotFound            404  not_found            REST only
│  ├─ MethodNotAllowed    405  method_not_allowed   REST only
│  ├─ RequestTimeout      408  request_timeout      the body did not arrive in time
│  ├─ DuplicateRequest    409  duplicate_request    this request id was used before, for the same
│  ├─ Conflict            409  conflict             same id, other content
│  ├─ PayloadTooLarge     413  payload_too_large
│  ├─ SchemaViolation     422  invalid_fields       REST: one entry per field
│  ├─ BudgetBusy          429  budget_busy          fits once calls in flight settle
│  └─ RateLimited         429  rate_limited         this component has as many calls under way as it may
├─ UpstreamError                      the provider's
│  ├─ UpstreamUnreachable 502  upstream_unreachable
│  └─ UpstreamTimeout     504  upstream_timeout
├─ NotInstalled           501  not_installed        the installation's: an extra that this needs is missing
├─ StoreUnavailable       503  store_unavailable    our store's: the ledger cannot write
├─ TooManyClients         503  too_many_clients     ours: every place is taken: at the live feed, or for sessions
├─ UnsupportedVersion     505  http_version         a protocol in which a cut answer looks whole
├─ Overloaded             503  overloaded           ours: as many calls, or bodies, are under way as may be
├─ ShuttingDown           503  shutting_down        ours: no more calls are taken
├─ ConfigError            422  invalid_config       the operator's: the start stops with exit code 2
│  └─ NeedsRestart        409  needs_restart        a reload cannot change this
└─ InvariantError         500  internal_error       ours: a promise of DESIGN.md §11 does not hold

Rule: whoever answers HTTP reads status, code, retry and headers from the class; nobody maps classes to numbers again.
"""

from typing import Any, ClassVar


class PeniaError(Exception):
    """The root. ``str(error)`` is a sentence for people; it never quotes a prompt, an answer or a key."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retry_after_s: ClassVar[int | None] = None
    """Seconds for ``Retry-After``. Always None on 402: one SDK sleeps all of it (wire_formats.md §0.3)."""
    sdk_may_retry: ClassVar[bool] = False
    """False adds ``x-should-retry: false``, which the SDKs obey before they look at the status."""

    def __init__(self, message: str, *, detail: Any = None) -> None:
        super().__init__(message)
        self.detail = detail
        """JSON-ready facts for the body: a list of field errors, or the verdict of a refusal."""


class CallerError(PeniaError):
    """The caller's fault."""

    status = 400
    code = "invalid_request"


class InvalidRequest(CallerError):
    """Not JSON, duplicate keys, an output cap that is no positive integer, a hostile path."""


class BudgetExceeded(CallerError):
    """Would not fit even if nothing were in flight; waiting does not help until the window ends."""

    status = 402
    code = "budget_exceeded"


class ApprovalRequired(CallerError):
    """Would not fit, and somebody has been asked to grant the budget more."""

    status = 402
    code = "approval_required"


class UnpricedModel(CallerError):
    """No price is known for the model, and a budget that applies requires one."""

    status = 402
    code = "unpriced_model"


class UnboundedCall(CallerError):
    """The most this call can cost is not known, and a budget that applies must never be overrun."""

    status = 402
    code = "unbounded_call"


class Forbidden(CallerError):
    """A REST request that a page of another site made, or that names a host that is not ours."""

    status = 403
    code = "forbidden"


class UnknownProvider(CallerError):
    """The first path segment names no provider of config.yaml."""

    status = 404
    code = "unknown_provider"


class UnmeteredRoute(CallerError):
    """The provider has, for all we know, no such free route, and we cannot meter it."""

    status = 404
    code = "unmetered_route"


class NotFound(CallerError):
    """A REST object that does not exist."""

    status = 404
    code = "not_found"


class MethodNotAllowed(CallerError):
    """A REST path that exists, with a method it does not have; ``detail`` lists those it has."""

    status = 405
    code = "method_not_allowed"


class RequestTimeout(CallerError):
    """The request's body did not arrive within the time allowed."""

    status = 408
    code = "request_timeout"


class DuplicateRequest(CallerError):
    """The request id belongs to an earlier call; forwarding again would be a second bill."""

    status = 409
    code = "duplicate_request"


class Conflict(CallerError):
    """A record's or request's id that was used before, with another content."""

    status = 409
    code = "conflict"


class PayloadTooLarge(CallerError):
    """The request's body exceeds ``server.max_body_mb``."""

    status = 413
    code = "payload_too_large"


class SchemaViolation(CallerError):
    """A REST body or query that breaks its schema; ``detail`` has one entry per field."""

    status = 422
    code = "invalid_fields"


class BudgetBusy(CallerError):
    """Would fit once calls in flight settle."""

    status = 429
    code = "budget_busy"
    retry_after_s = 1
    sdk_may_retry = True


class RateLimited(CallerError):
    """The component has as many calls under way as it may."""

    status = 429
    code = "rate_limited"
    retry_after_s = 1
    sdk_may_retry = True


class UpstreamError(PeniaError):
    """The provider's fault."""

    status = 502
    code = "upstream_unreachable"
    sdk_may_retry = True


class UpstreamUnreachable(UpstreamError):
    """The provider could not be reached, or hung up before it answered."""


class UpstreamTimeout(UpstreamError):
    """The provider did not answer in time."""

    status = 504
    code = "upstream_timeout"


class NotInstalled(PeniaError):
    """What was asked for needs a library that is an extra, and is not there."""

    status = 501
    code = "not_installed"


class StoreUnavailable(PeniaError):
    """The ledger cannot write, so nothing can be held."""

    status = 503
    code = "store_unavailable"
    retry_after_s = 1
    sdk_may_retry = True


class ArchiveUnavailable(PeniaError):
    """A month's records are in a file that cannot be read; the message names the month. Waiting does not help."""

    status = 503
    code = "archive_unavailable"


class TooManyClients(PeniaError):
    """Every place is taken: at the live feed, or for the WebSockets of providers."""

    status = 503
    code = "too_many_clients"
    retry_after_s = 5


class UnsupportedVersion(PeniaError):
    """HTTP/1.0 has no chunks: an answer that breaks off would look like a whole one."""

    status = 505
    code = "http_version"


class Overloaded(PeniaError):
    """As many calls are under way, or their bodies take as much memory, as may be."""

    status = 503
    code = "overloaded"
    retry_after_s = 1
    sdk_may_retry = True


class ShuttingDown(PeniaError):
    """The process ends, and takes no more calls."""

    status = 503
    code = "shutting_down"
    retry_after_s = 5
    sdk_may_retry = True


class ConfigError(PeniaError):
    """The configuration cannot be used; the message names file, line and remedy."""

    status = 422
    code = "invalid_config"


class NeedsRestart(ConfigError):
    """The configuration is good, and changes what is fixed while the process runs; ``detail`` lists it."""

    status = 409
    code = "needs_restart"


class InvariantError(PeniaError):
    """A promise does not hold: a defect of ours, never something to continue from quietly."""
