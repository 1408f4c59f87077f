"""
Refuse in the provider's own shape.

Its one job: turn an error, and the verdict that led to it, into the answer that the provider's SDK raises its usual
exception from.
Rules: status, code and retry come from the error's class; a 402 never carries Retry-After. No message quotes what
was sent.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from penia_proxy.errors import PeniaError
from penia_proxy.gateway.downstream import Fields, whole
from penia_proxy.gateway.incoming import Incoming
from penia_proxy.gateway.stamp import SERVER, date_of
from penia_proxy.watch.refusing import Refused
from penia_proxy.watch.shapes import refused_json
from penia_proxy.wire.call import Dialect


def penia_of(error: PeniaError, request_id: str) -> dict[str, Any]:
    """Return what a refusal says in our own words, inside the provider's."""
    said: dict[str, Any] = {"estimated_cost": None, "budgets": [], "cheaper": None}
    if isinstance(error.detail, Refused):
        said = refused_json(error.detail)
    return {"code": error.code, "request_id": request_id, **said}


class Reply(NamedTuple):
    """An answer of our own."""

    status: int
    reason: str
    fields: Fields
    body: bytes


def reply(error: PeniaError, dialect: Dialect, request_id: str, now: datetime) -> Reply:
    """Return the refusal."""
    shape = dialect.refusal(error, penia_of(error, request_id), request_id)
    fields = [
        ("Content-Type", "application/json; charset=utf-8"),
        *shape.headers.items(),
        ("Server", SERVER),
        ("Date", date_of(now)),
        ("X-Penia-Request-Id", request_id),
    ]
    if isinstance(error.detail, Refused):
        fields.append(("X-Penia-Verdict", error.detail.verdict.kind))
    if not error.sdk_may_retry:
        fields.append(("x-should-retry", "false"))
    if error.retry_after_s is not None:
        fields.append(("Retry-After", str(error.retry_after_s)))
    return Reply(error.status, HTTPStatus(error.status).phrase, fields, orjson.dumps(shape.body))


def refuse(incoming: Incoming, said: Reply) -> None:
    """Send a refusal: short, so that nobody waits until it is taken."""
    incoming.begun = True
    if not incoming.complete:  # what is still to come of it is read and dropped, and no other request is
        incoming.keeps = False
    if not incoming.line.transport.is_closing():
        incoming.line.transport.write(b"".join(whole(incoming, *said)))
