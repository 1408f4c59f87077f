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

from penia_proxy.budget.engine import Verdict
from penia_proxy.budget.money import usd
from penia_proxy.errors import BudgetBusy, BudgetExceeded, CallerError, PeniaError, UnboundedCall, UnpricedModel
from penia_proxy.gateway.stamp import SERVER
from penia_proxy.watch.shapes import cheaper_json, word_json
from penia_proxy.wire.call import Dialect

_BY_CODE: dict[str, type[CallerError]] = {
    error.code: error for error in (BudgetExceeded, BudgetBusy, UnpricedModel, UnboundedCall)
}


def refusal_of(verdict: Verdict) -> CallerError:
    """Return the error a blocking verdict is."""
    return _BY_CODE[verdict.code or "budget_exceeded"](verdict.reason, detail=verdict)


def penia_of(error: PeniaError, request_id: str) -> dict[str, Any]:
    """Return what a refusal says in our own words, inside the provider's."""
    verdict = error.detail if isinstance(error.detail, Verdict) else None
    return {
        "code": error.code,
        "request_id": request_id,
        "estimated_cost": None if verdict is None else usd(verdict.amount_nanos),
        "budgets": [word_json(word) for word in verdict.words] if verdict else [],
        "cheaper": cheaper_json(verdict.cheaper) if verdict else None,
    }


def respond(error: PeniaError, dialect: Dialect, request_id: str, headers: Mapping[str, str]) -> web.Response:
    """Return the refusal; ``headers`` are added to it."""
    verdict = error.detail if isinstance(error.detail, Verdict) else None
    shape = dialect.refusal(error, penia_of(error, request_id), request_id)
    answer = web.Response(status=error.status, body=orjson.dumps(shape.body), content_type="application/json")
    answer.headers.update(shape.headers)
    answer.headers.update(headers)
    answer.headers["Server"] = SERVER
    answer.headers["X-Penia-Request-Id"] = request_id
    if verdict is not None:
        answer.headers["X-Penia-Verdict"] = verdict.kind
    if not error.sdk_may_retry:
        answer.headers["x-should-retry"] = "false"
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer
