"""
Whoever is to know that a number was crossed is told once, whatever happens meanwhile.

A real mail server, a real web server, a thousand calls at once, real kills.
"""

import asyncio
import contextlib
import random
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from penia_proxy.watch.alerts import Alerts
from tests.gateways import KEYS, Running, Start
from tests.processes import listening, running
from tests.told import SECRET, Hook, Mailbox, hook, mailbox

CALLS = 1_000
KILLS = 4
COST = 0.0000126
"""Of one call in the sandbox: 12 tokens in, 18 out."""


def told_of(box: Mailbox | None, hooked: Hook | None) -> dict[str, Any]:
    return {
        "email": box and {"smtp": box.url, "from": "penia@example.com", "to": ["ops@example.com"]},
        "webhooks": [{"name": "ops", "url": hooked.url, "secret": SECRET}] if hooked else [],
    }


async def until(what: Callable[[], bool]) -> None:
    while not what():
        await asyncio.sleep(0.02)


async def until_sent(penia: Running, count: int) -> None:
    """Wait until so many notifications are noted as sent, which is later than that somebody has them."""
    while (await penia.api("GET", "/api/v1/notifications?state=sent"))[1]["total"] < count:
        await asyncio.sleep(0.02)


async def alerts_of(penia: Running) -> list[dict[str, Any]]:
    await penia.gateway.alerts.look()
    status, body = await penia.api("GET", "/api/v1/alerts?limit=100")
    assert status == 200
    items: list[dict[str, Any]] = body["items"]
    return items


@pytest.mark.parametrize("failing", [0, 3])
async def test_a_thousand_calls_cross_four_thresholds(start: Start, failing: int) -> None:
    """Four alerts, four mails and four signed webhooks, also where both servers are down at first."""
    async with mailbox() as box, hook() as hooked:
        box.failing = hooked.failing = failing
        limit = {"name": "Default", "total_limit": 0.008, "enforcement": "warn"}  # no day turns meanwhile
        penia = await start(script=Behaviour(output_tokens=18), budgets=(limit,), alerts=told_of(box, hooked))
        penia.gateway.notifier._pause_s = 0.05

        await asyncio.gather(*(penia.chat() for _ in range(CALLS)))

        found = await alerts_of(penia)
        assert sorted(alert["threshold_percent"] for alert in found) == [50, 80, 90, 100]
        await until_sent(penia, 8)
        assert (len(box.messages), len(hooked.bodies)) == (4, 4)
        assert hooked.percents == [50, 80, 90, 100]
        assert len(set(hooked.ids)) == 4
        assert box.subjects == sorted(f"Penia: {alert['title']}" for alert in found)
        assert len({message["Message-ID"] for message in box.messages}) == 4
        _, all_of_them = await penia.api("GET", "/api/v1/notifications")
        assert all_of_them["total"] == 8  # nothing follows


@pytest.mark.fault("X3")
async def test_one_that_hangs_delays_nobody(start: Start) -> None:
    """Neither the mail nor a call waits for a web server that says nothing."""
    async with mailbox() as box, hook() as hooked:
        hooked.hanging = True
        limit = {"name": "Default", "daily_limit": 0.000001, "enforcement": "warn"}
        penia = await start(budgets=(limit,), alerts=told_of(box, hooked))

        answers = [await penia.chat() for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 200]
        await until(lambda: len(box.messages) == 4 and hooked.attempts > 0)
        _, sent = await penia.api("GET", "/api/v1/notifications?state=sent")
        assert {one["channel"] for one in sent["items"]} <= {"email"}


@pytest.mark.parametrize("how", ["posted", "lowered", "refused"])
async def test_whatever_crosses_it(start: Start, how: str) -> None:
    """A record that somebody posts, a limit that is lowered, a refusal near the limit: each is a crossing."""
    limit = {"name": "Default", "daily_limit": 1.0, "enforcement": "block", "overrun": "never"}
    penia = await start(budgets=(limit,))
    record = {"component": "c", "provider": "openai", "model": "gpt-4o", "input_tokens": 1, "cost": 0.85}
    if how == "lowered":
        await penia.api("POST", "/api/v1/usage/record", {**record, "cost": 0.42})
        assert await alerts_of(penia) == []
        (budget,) = penia.gateway.book
        await penia.api("PUT", f"/api/v1/budgets/{budget.budget_id}", {"daily_limit": 0.5})
    else:
        await penia.api("POST", "/api/v1/usage/record", record)
    expected = [50, 80]
    if how == "refused":
        assert (await penia.chat(max_tokens=16_000_000)).status == 402
        expected = [50, 80, 90, 100]

    assert sorted(alert["threshold_percent"] for alert in await alerts_of(penia)) == expected


async def test_a_refusal_far_from_the_limit_is_no_crossing(start: Start) -> None:
    """A call that is too large for an empty budget says nothing of the budget."""
    limit = {"name": "Default", "daily_limit": 0.001, "enforcement": "block", "overrun": "never"}
    penia = await start(budgets=(limit,))

    assert (await penia.chat(max_tokens=1_000_000)).status == 402
    assert await alerts_of(penia) == []


async def test_a_model_without_a_price_is_told_once(start: Start) -> None:
    """Not once a call."""
    penia = await start()

    for _ in range(3):
        await penia.chat(model="a-model-nobody-knows")
    await penia.gateway.ledger.caught_up()
    await asyncio.sleep(0)

    (alert,) = await alerts_of(penia)
    assert (alert["alert_type"], alert["severity"], alert["budget_id"]) == ("unpriced", "warning", None)
    assert alert["details"]["model"] == "a-model-nobody-knows"


async def test_what_less_is_told_to_nobody(start: Start) -> None:
    """``least_severity`` keeps small things out of people's mail, and in the list."""
    async with hook() as hooked:
        limit = {"name": "Default", "daily_limit": 0.000001, "enforcement": "warn"}
        penia = await start(budgets=(limit,), alerts={**told_of(None, hooked), "least_severity": "critical"})

        await penia.chat()

        assert len(await alerts_of(penia)) == 4
        await until(lambda: len(hooked.bodies) == 1)
        assert hooked.percents == [100]


CONFIG = """
server: {{port: 0}}
ledger: {{url: "sqlite:///penia.db", durability: full}}
providers: {{openai: {{base_url: "{upstream}", format: openai}}}}
budgets: [{{name: Default, total_limit: 0.003, enforcement: warn}}]
alerts: {{forecast: false, webhooks: [{{name: ops, url: "{hook}", secret: "{secret}"}}]}}
"""


@pytest.mark.timeout(240)
async def test_kills_repeat_nothing_but_the_same_notification(tmp_path: Path) -> None:
    """Killed at any moment: exactly four alerts, each told at least once, and a repetition has the same id."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown where it fails
    draw = random.Random(seed)
    async with hook() as hooked, running_sandbox(Behaviour(output_tokens=18)) as sandbox:
        config = tmp_path / "config.yaml"
        config.write_text(CONFIG.format(upstream=sandbox.url_of("openai"), hook=hooked.url, secret=SECRET))
        for number in range(KILLS + 1):
            async with running(tmp_path, "serve", "-c", str(config)) as penia, aiohttp.ClientSession() as session:
                url = await listening(penia)
                callers = [asyncio.create_task(keep_calling(session, url)) for _ in range(8)]
                if number < KILLS:
                    await asyncio.sleep(draw.uniform(0.05, 0.6))
                    penia.signal(signal.SIGKILL)
                    await penia.end()
                else:
                    await until(lambda: hooked.percents == [50, 80, 90, 100])
                    async with session.get(f"{url}/api/v1/alerts?limit=100") as answer:
                        alerts = (await answer.json())["items"]
                    async with session.get(f"{url}/api/v1/notifications?limit=100") as answer:
                        sent = (await answer.json())["items"]
                for caller in callers:
                    caller.cancel()
                await asyncio.gather(*callers, return_exceptions=True)

    assert sorted(alert["threshold_percent"] for alert in alerts) == [50, 80, 90, 100]
    assert len(sent) == 4
    assert set(hooked.ids) <= {one["notification_id"] for one in sent}


async def keep_calling(session: aiohttp.ClientSession, url: str) -> None:
    body = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.post(f"{url}/openai/v1/chat/completions", json=body, headers=KEYS) as answer:
                await answer.read()
        await asyncio.sleep(0)


async def test_a_budget_that_waits_for_an_approval_is_told(start: Start) -> None:
    """Once, with the request's id, however many calls are refused for it."""
    async with hook() as hooked:
        limit = {"name": "Approved", "daily_limit": 0.000001, "enforcement": "approve"}
        penia = await start(budgets=(limit,), alerts={**told_of(None, hooked), "thresholds": []})

        refused = [await penia.chat() for _ in range(3)]

        assert [answer.status for answer in refused] == [402, 402, 402]
        await until(lambda: len(hooked.bodies) == 1)
        (alert,) = await alerts_of(penia)
        _, waiting = await penia.api("GET", "/api/v1/approvals?state=pending")
        assert (alert["alert_type"], alert["severity"]) == ("approval", "warning")
        assert alert["details"]["approval_id"] == waiting["items"][0]["approval_id"]


ASKS = {"daily_limit": 0.000001, "enforcement": "approve"}


async def test_what_was_answered_waits_for_nobody(start: Start) -> None:
    """An approval's alert is resolved when its request is approved or denied, and live clients are told at once."""
    budgets = tuple({**ASKS, "name": name, "scope": {"components": [name]}} for name in ("approved", "denied", "open"))
    penia = await start(budgets=budgets, alerts={"thresholds": [], "unpriced": False})
    for name in ("approved", "denied", "open"):
        await penia.chat({"X-Penia-Component": name})
    ids = {one["details"]["component"]: one["alert_id"] for one in await alerts_of(penia)}
    _, waiting = await penia.api("GET", "/api/v1/approvals?state=pending")
    asked = {one["name"]: one["approval_id"] for one in waiting["items"]}

    async with penia.session.ws_connect(f"{penia.url}/ws") as live:
        await live.send_json({"type": "subscribe", "channels": ["alerts"]})
        while (await live.receive_json())["type"] != "snapshot":
            pass
        await penia.api("POST", f"/api/v1/approvals/{asked['approved']}/approve", {"amount": 1})
        await penia.api("POST", f"/api/v1/approvals/{asked['denied']}/deny", {"reason": "no"})
        told = [(await live.receive_json())["data"] for _ in range(2)]

    assert [(one["alert_id"], one["resolved"]) for one in told] == [(ids["approved"], True), (ids["denied"], True)]
    resolved = {one["details"]["component"]: one["resolved_at"] is not None for one in await alerts_of(penia)}
    assert resolved == {"approved": True, "denied": True, "open": False}
    _, active = await penia.api("GET", "/api/v1/alerts?active=true")
    assert [one["details"]["component"] for one in active["items"]] == ["open"]


async def test_what_was_answered_before_a_kill_is_resolved_at_the_next_start(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is the ledger's; an alert that a kill has left behind it, or has not let be raised, follows it."""
    budgets = tuple({**ASKS, "name": name, "scope": {"components": [name]}} for name in ("answered", "untold"))
    penia = await start(budgets=budgets, alerts={"thresholds": [], "unpriced": False})
    await penia.chat({"X-Penia-Component": "answered"})
    monkeypatch.setattr(Alerts, "resolve", lambda *_: None)
    monkeypatch.setattr(Alerts, "asked", lambda *_: None)
    penia.gateway.refusing.approvals._announce = lambda _: None
    await penia.chat({"X-Penia-Component": "untold"})
    _, waiting = await penia.api("GET", "/api/v1/approvals?state=pending")
    asked = {one["name"]: one["approval_id"] for one in waiting["items"]}
    await penia.api("POST", f"/api/v1/approvals/{asked['answered']}/deny")
    await penia.gateway.stop()
    monkeypatch.undo()

    gateway = await Gateway(penia.gateway.config, SystemClock()).start()
    try:
        found = await alerts_of(Running(gateway, penia.sandbox, penia.session))
    finally:
        await gateway.stop()

    assert {one["details"]["component"]: one["resolved_at"] is not None for one in found} == {
        "answered": True,
        "untold": False,
    }


async def test_a_ledger_that_writes_again_needs_nobody(start: Start) -> None:
    """The alert that it could not is resolved as soon as it can."""
    penia = await start(alerts={"unpriced": False})
    path = penia.gateway.config.ledger.url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        penia.gateway.ledger._writer._connection.execute("PRAGMA busy_timeout = 5")
        other.execute("BEGIN EXCLUSIVE")
        assert (await penia.chat()).status == 503
        await until(lambda: not penia.gateway.ledger.healthy)
        await penia.gateway.alerts.look()
        other.execute("ROLLBACK")
    await until(lambda: penia.gateway.ledger.healthy)

    (alert,) = await alerts_of(penia)

    assert (alert["alert_type"], alert["resolved_at"] is not None) == ("store", True)
