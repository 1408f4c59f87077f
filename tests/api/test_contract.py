"""
The OpenAPI document, held against the control plane that serves it.

Schemathesis reads the document and asks whatever it allows, and what it forbids, of each operation, so that a new row
of the route table is tested without a line here; then it walks along the document's links. All of its checks are on,
but for those below, each with its reason. Rules: a whole gateway on loopback; the same requests in every run;
nothing that was made up is ever sent to another machine.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from penia_proxy.api.openapi import document
from penia_proxy.api.routes import ENDPOINTS
from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import Config

NOBODY = "http://127.0.0.1:9"
"""Where nobody listens: what a trial or an alert is sent to."""

BEYOND_THE_SCHEMA = {
    "POST /api/v1/budgets": "a time zone is one of those there are, a scope's patterns are ours",
    "PUT /api/v1/budgets/{budget_id}": "the same, and what cannot be changed must be as it is",
    "POST /api/v1/budgets/check": "one of two forms: a cost, or the size of a call",
    "POST /api/v1/check": "the same",
    "POST /api/v1/usage/record": "a cost or the tokens to price, and sums that agree",
    "POST /api/v1/budgets/{budget_id}/grants": "what is topped up is a limit that the budget has",
    "POST /api/v1/holds": "one of two forms: a cost, or the size of a call",
    "POST /api/v1/holds/{hold_id}/settle": "a cost or the tokens to price, and sums that agree",
    "GET /api/v1/usage/timeseries": "a start lies before its end",
    "POST /api/v1/reconciliations": "a report is one that a provider has made",
    "GET /api/v1/usage/records": "a cursor is one that an answer has named",
    "POST /api/v1/usage/summary": "one of three ways to say when",
    "POST /api/v1/prices/calculate": "all input includes what is cached of it",
    "POST /api/v1/prices/reprice": "a cursor is one that an answer has named",
    "POST /api/v1/prices/recommend": "output needs input beside it, and what is asked for must be known",
    "POST /api/v1/prices/recommendations": "the same",
    "POST /api/v1/prices/what_if": "a start lies before its end",
    "PUT /api/v1/alerts/settings": "what counts is the whole, as it is with the changes in",
}
"""What each of these refuses although its schema allows it; elsewhere, what the schema allows must be accepted."""

CHECKS = schemathesis.Config.from_dict(
    {
        # Where any JSON may stand, no schema can forbid the NUL in a string that test_http.py sees refused.
        "generation": {"allow-x00": False},
        # Every method that a path does not have ends in one place.
        "phases": {"coverage": {"unexpected-methods": ["patch"]}},
        # What is deleted stays to be read: a budget is deactivated, because records name it.
        "checks": {"use_after_free": {"enabled": False}},
        "operations": [
            {"include-name": name, "checks": {"positive_data_acceptance": {"enabled": False}}}
            for name in BEYOND_THE_SCHEMA
        ],
    }
)
DOCUMENT = document(ENDPOINTS)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CHECKS)
WALKS = {
    tag: schemathesis.openapi.from_dict(part, config=CHECKS)
    for tag in dict.fromkeys(row.tag for row in ENDPOINTS)
    if b'"links"' in orjson.dumps(part := document(row for row in ENDPOINTS if row.tag == tag))
}
"""For each kind of thing whose operations lead to one another; among all, few steps would go from one to the next."""

BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=6,
    suppress_health_check=list(HealthCheck),
)


def keep_here(case: schemathesis.Case) -> None:
    """Put an address of ours in the place of any that was made up: a trial is sent to all that are set."""
    if isinstance(case.body, dict) and isinstance(case.body.get("webhooks"), list):
        for webhook in case.body["webhooks"]:
            if isinstance(webhook, dict) and re.match(r"https?://", str(webhook.get("url")), re.IGNORECASE):
                webhook["url"] = NOBODY


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a gateway on a loop and a thread of its own, since Schemathesis waits for each answer."""
    path = tmp_path_factory.mktemp("contract") / "penia.db"
    config = Config.model_validate(
        {
            "server": {"port": 0, "drain_seconds": 1},
            "ledger": {"url": f"sqlite:///{path}", "durability": "normal"},
            "providers": {"openai": {"base_url": NOBODY, "format": "openai"}},
            "budgets": [{"name": "Default", "daily_limit": 5}],
        }
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        gateway = Gateway(config, SystemClock())
        asyncio.run_coroutine_threadsafe(gateway.start(), loop).result()
        yield gateway.url
        asyncio.run_coroutine_threadsafe(gateway.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Keep one connection: thousands of new ones would use up the machine's ports."""
    with requests.Session() as kept:
        yield kept


def test_the_document_asked_is_the_one_served(url: str, session: requests.Session) -> None:
    """What the tests below are made from is what a client reads."""
    assert session.get(f"{url}/api/v1/openapi.json").json() == DOCUMENT


@SCHEMA.parametrize()
@BOUNDED
def test_each_operation_keeps_to_the_document(case: schemathesis.Case, url: str, session: requests.Session) -> None:
    """Whatever is asked, right or wrong, the answer is one that the document foresees, and never a 500."""
    keep_here(case)
    case.call_and_validate(base_url=url, session=session)


def passable(case: schemathesis.Case) -> None:
    """Say what hardly any made-up body says, since a walk has to get somewhere: a time zone, or what a call cost."""
    if not isinstance(case.body, dict):
        return
    if "timezone" in case.body:
        case.body["timezone"] = "UTC"
    if case.operation.label == "POST /api/v1/usage/record":
        kept = {name: case.body[name] for name in ("component", "provider", "model") if name in case.body}
        case.body = {**kept, "cost": 0.5}


@pytest.mark.parametrize("tag", WALKS)
def test_walks_along_the_links_keep_to_the_document(tag: str, url: str, session: requests.Session) -> None:
    """What one answer names, other operations find: made, read, changed, deactivated, in any order."""
    found: set[str] = set()

    class Walk(WALKS[tag].as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: schemathesis.Case) -> None:
            keep_here(case)
            passable(case)

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case) -> None:
            if response.status_code < 300:
                found.add(case.operation.label)

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": url, "session": session}

    Walk.run(settings=settings(BOUNDED, max_examples=15, stateful_step_count=5))

    # Ids are made by chance: only an answer can have told one.
    assert tag != "budgets" or any("{budget_id}" in name for name in found)


def test_reasons_are_about_what_exists() -> None:
    """No exception outlives its operation."""
    operations = {f"{row.method} {row.path}" for row in ENDPOINTS}

    assert set(BEYOND_THE_SCHEMA) <= operations
