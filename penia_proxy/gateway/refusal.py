"""
Refuse in the provider's own shape.

Its one job: turn an error, and the verdict that led to it, into the answer that the provider's SDK raises its usual
exception from.
Rules: status, code and retry come from the error's class; a 402 never carries Retry-After. No message quotes what
was sent.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from penia_proxy.errors import PeniaError
from penia_proxy.gateway.stamp import SERVER
from penia_proxy.watch.refusing import Refused
from penia_proxy.watch.shapes import refused_json
from penia_proxy.wire.call import Dialect


def penia_of(error: PeniaError, request_id: str) -> dict[str, Any]:
    """Return what a refusal says in our own words, inside the provider's."""
    said: dict[str, Any] = {"estimated_cost": None, "budgets": [], "cheaper": None}
    if isinstance(error.detail, Refused):
        said = refused_json(error.detail)
    return {"code": error.code, "request_id": request_id, **said}


def respond(error: PeniaError, dialect: Dialect, request_id: str, headers: Mapping[str, str]) -> web.Response:
    """Return the refusal; ``headers`` are added to it."""
    shape = dialect.refusal(error, penia_of(error, request_id), request_id)
    answer = web.Response(status=error.status, body=orjson.dumps(shape.body), content_type="application/json")
    answer.headers.update(shape.headers)
    answer.headers.update(headers)
    answer.headers["Server"] = SERVER
    answer.headers["X-Penia-Request-Id"] = request_id
    if isinstance(error.detail, Refused):
        answer.headers["X-Penia-Verdict"] = error.detail.verdict.kind
    if not error.sdk_may_retry:
        answer.headers["x-should-retry"] = "false"
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer
