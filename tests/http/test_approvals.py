"""An `approve` budget refuses until somebody grants more: the request is made once, and what was granted passes."""

import asyncio
from typing import Any

import anthropic
import openai
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from tests.gateways import Running, Start

ASKS = {"name": "Asks", "daily_limit": 0.0000001, "enforcement": "approve", "overrun": "never"}


async def requests(penia: Running, state: str = "pending") -> list[dict[str, Any]]:
    _, body = await penia.api("GET", f"/api/v1/approvals?state={state}")
    items: list[dict[str, Any]] = body["items"]
    return items


async def test_a_refusal_names_the_request_and_its_approval_lets_the_next_call_pass(start: Start) -> None:
    """402 `approval_required` with the request's id; approving without an amount gives exactly what the call lacks."""
    penia = await start(budgets=(ASKS,))

    refused = await penia.chat({"X-Penia-Component": "rhetor"})

    body = (await refused.json())["error"]
    assert (refused.status, body["code"]) == (402, "approval_required")
    assert "Retry-After" not in refused.headers
    assert refused.headers["x-should-retry"] == "false"
    (asked,) = await requests(penia)
    assert body["penia"]["approval_id"] == asked["approval_id"]
    assert (asked["component"], asked["refused_calls"], asked["name"]) == ("rhetor", 1, "Asks")
    assert penia.sandbox.calls == []

    status, approved = await penia.api("POST", f"/api/v1/approvals/{asked['approval_id']}/approve", {"reason": "fine"})
    answer = await penia.chat()

    assert (status, approved["state"], approved["grant"]["approval_id"]) == (200, "approved", asked["approval_id"])
    assert approved["grant"]["amount"] == pytest.approx(asked["amount"] - 0.0000001, abs=1e-12)
    assert answer.status == 200
    assert await requests(penia) == []
    assert (await requests(penia, "approved"))[0]["reason"] == "fine"
    _, grants = await penia.api("GET", f"/api/v1/budgets/{asked['budget_id']}/grants")
    assert [one["grant_id"] for one in grants["items"]] == [approved["grant"]["grant_id"]]


async def test_many_refused_calls_are_one_request(start: Start) -> None:
    """However many calls come at once, somebody is asked once, and told how many there were."""
    penia = await start(budgets=(ASKS,))
    told: list[Any] = []
    penia.gateway.refusing.approvals._announce = told.append

    answers = await asyncio.gather(*(penia.chat() for _ in range(30)))

    assert {answer.status for answer in answers} == {402}
    assert len({(await answer.json())["error"]["penia"]["approval_id"] for answer in answers}) == 1
    (asked,) = await requests(penia)
    assert asked["refused_calls"] == 30
    assert len(told) == 1


async def test_a_denied_budget_refuses_without_asking_again(start: Start) -> None:
    """After a denial calls are exceeded, until somebody grants the window more all the same."""
    penia = await start(budgets=(ASKS,))
    await penia.chat()
    (asked,) = await requests(penia)

    status, denied = await penia.api("POST", f"/api/v1/approvals/{asked['approval_id']}/deny", {"reason": "no"})
    refused = await penia.chat()

    assert (status, denied["state"], denied["reason"]) == (200, "denied", "no")
    body = (await refused.json())["error"]
    assert (refused.status, body["code"]) == (402, "budget_exceeded")
    assert body["message"].endswith("denied.")
    assert "approval_id" not in body["penia"]
    assert await requests(penia) == []
    again, _ = await penia.api("POST", f"/api/v1/approvals/{asked['approval_id']}/approve", {})
    assert again == 409
    await penia.api(
        "POST", f"/api/v1/budgets/{asked['budget_id']}/grants", {"period": "daily", "amount": 1, "reason": "sorry"}
    )
    assert (await penia.chat()).status == 200


async def test_rulings_survive_a_restart(start: Start) -> None:
    """Open requests with their count, denials and grants are the ledger's: another process has them all."""
    penia = await start(
        budgets=(
            {**ASKS, "name": "Open", "scope": {"components": ["open"]}},
            {**ASKS, "name": "Denied", "scope": {"components": ["denied"]}},
            {**ASKS, "name": "Granted", "scope": {"components": ["granted"]}},
        )
    )
    for component in ("open", "open", "open", "denied", "granted"):
        await penia.chat({"X-Penia-Component": component})
    ids = {one["name"]: one["approval_id"] for one in await requests(penia)}
    await penia.api("POST", f"/api/v1/approvals/{ids['Denied']}/deny")
    await penia.api("POST", f"/api/v1/approvals/{ids['Granted']}/approve", {"amount": 1})
    await penia.gateway.stop()
    again = await Gateway(penia.gateway.config, SystemClock()).start()
    try:
        penia = Running(again, penia.sandbox, penia.session)

        codes = {}
        for component in ("open", "denied", "granted"):
            answer = await penia.chat({"X-Penia-Component": component})
            codes[component] = (await answer.json()).get("error", {}).get("code", answer.status)
        asked = await requests(penia)
    finally:
        await again.stop()

    assert codes == {"open": "approval_required", "denied": "budget_exceeded", "granted": 200}
    assert [(one["approval_id"], one["refused_calls"]) for one in asked] == [(ids["Open"], 4)]


async def test_openai_and_anthropic_raise_their_exception_for_402(start: Start) -> None:
    """Neither retries what somebody has to answer first; both find the request's id in the body."""
    penia = await start(budgets=(ASKS,))
    say: Any = [{"role": "user", "content": "hi"}]

    async with openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as client:
        with pytest.raises(openai.APIStatusError) as one:
            await client.chat.completions.create(model="gpt-4o-mini", max_tokens=5, messages=say)
    async with anthropic.AsyncAnthropic(base_url=f"{penia.url}/anthropic", api_key="made-up") as other:
        with pytest.raises(anthropic.APIStatusError) as two:
            await other.messages.create(model="claude-haiku-4-5", max_tokens=5, messages=say)

    (asked,) = await requests(penia)
    assert (one.value.status_code, two.value.status_code) == (402, 402)
    assert one.value.code == "approval_required"
    body: Any = two.value.body
    assert body["error"]["penia"]["approval_id"] == asked["approval_id"]
    assert asked["refused_calls"] == 2
