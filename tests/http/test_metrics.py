"""What a monitoring system reads: a real scrape, taken apart by Prometheus' own parser."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penia_proxy.api import metrics
from penia_proxy.ledger.reconciliations import Captured
from penia_proxy.sandbox.faults import Behaviour
from penia_proxy.watch import totals
from tests.gateways import Running, Start
from tests.http.test_reconciliation import report

Labels = tuple[tuple[str, str], ...]
Scrape = dict[str, dict[Labels, float]]


async def scraped(penia: Running) -> Scrape:
    """Scrape once; return values by name and labels."""
    await penia.gateway.ledger.caught_up()
    async with penia.session.get(f"{penia.url}/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        text = await answer.text()
    found: Scrape = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in series, "one series, twice"
            series[labels] = float(sample.value)
    return found


def labelled(**labels: str) -> Labels:
    return tuple(sorted(labels.items()))


def value(found: Scrape, metric: str, /, **labels: str) -> float:
    return found[f"penia_{metric}"][labelled(**labels)]


async def test_calls_and_money_are_counted(start: Start) -> None:
    """By provider, verdict and status; a refusal by its code; a correction that gives back is no negative count."""
    tight = {"name": "tight", "daily_limit": 1e-7, "enforcement": "block", "scope": {"components": ["tight"]}}
    near = {"name": "near", "daily_limit": 1e-7, "enforcement": "warn", "scope": {"components": ["near"]}}
    penia = await start(budgets=(tight, near, {"name": "all", "daily_limit": 5}))
    for component in ("a", "a", "tight", "near"):
        await penia.chat({"X-Penia-Component": component})
    await penia.messages()
    posted = {"component": "p", "provider": "elsewhere", "model": "m", "cost": 0.5, "record_id": "posted"}
    await penia.api("POST", "/api/v1/usage/record", posted)
    await penia.api(
        "POST",
        "/api/v1/usage/record",
        {"component": "p", "provider": "elsewhere", "model": "no-such", "input_tokens": 9},
    )
    await penia.api("POST", "/api/v1/usage/records/posted/adjust", {"cost": 0.2, "reason": "credit"})

    found = await scraped(penia)

    calls = {tuple(value for _, value in labels): count for labels, count in found["penia_calls_total"].items()}
    assert calls == {
        ("openai", "ok", "allow"): 2,
        ("openai", "ok", "warn"): 1,
        ("openai", "budget_exceeded", "block"): 1,
        ("anthropic", "ok", "allow"): 1,
        ("elsewhere", "ok", "none"): 2,
    }
    records = await penia.records()
    charged = sum(one["cost"] for one in records if one["provider"] == "openai")
    assert value(found, "charged_usd_total", provider="openai") == pytest.approx(charged, abs=1e-12)
    assert value(found, "charged_usd_total", provider="elsewhere") == 0.5
    assert found["penia_credited_usd_total"] == {labelled(provider="elsewhere"): pytest.approx(0.3, abs=1e-12)}
    assert found["penia_unpriced_calls_total"] == {labelled(provider="elsewhere"): 1}


async def test_what_is_under_way_is_seen(start: Start) -> None:
    """A stream that runs is a call, a hold with its amount and a stream; after it nothing is left."""
    penia = await start(
        script=Behaviour(chunk_delay_s=0.2, output_tokens=5), budgets=({"name": "b", "daily_limit": 5},)
    )
    streaming = asyncio.create_task(penia.chat(stream=True))
    while not penia.gateway.ledger.holds_open:
        await asyncio.sleep(0.01)

    during = await scraped(penia)
    await streaming
    after = await scraped(penia)

    names = ("holds", "calls_underway", "streams_underway")
    assert [value(during, name) for name in names] == [1, 1, 1]
    assert value(during, "held_usd") > 0
    assert value(during, "body_bytes") > 0
    assert [value(after, name) for name in names] == [0, 0, 0]
    assert value(after, "held_usd") == value(after, "body_bytes") == 0
    assert value(after, "ledger_commits_total") > value(during, "ledger_commits_total")


async def test_budgets_say_how_near_they_are(start: Start) -> None:
    """Limit, spent, held and their ratio are the summary's, whatever a budget is called."""
    name = 'A "quoted" \\ name'
    penia = await start(budgets=({"name": name, "daily_limit": 5, "monthly_limit": 50},))
    await penia.chat()
    (budget,) = penia.gateway.book
    path = f"/api/v1/budgets/{budget.budget_id}"
    await penia.api("POST", path + "/grants", {"period": "daily", "amount": 1, "reason": "more"})

    found = await scraped(penia)

    _, summary = await penia.api("GET", path + "/summary")
    for window in summary:
        labels = {"budget_id": budget.budget_id, "name": name, "period": window["period"]}
        assert value(found, "budget_limit_usd", **labels) == window["limit"]
        assert value(found, "budget_spent_usd", **labels) == window["spent"] > 0
        assert value(found, "budget_held_usd", **labels) == 0
        assert value(found, "budget_spent_ratio", **labels) == pytest.approx(window["spent"] / window["limit"])
    assert {window["limit"] for window in summary} == {6, 50}


async def test_the_number_of_series_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many budgets the nearest to their limits are shown and the others counted; so are providers and days."""
    monkeypatch.setattr(metrics, "BUDGET_WINDOWS_MAX", 3)
    monkeypatch.setattr(metrics, "BUDGETS_AT_ONCE", 2)
    monkeypatch.setattr(metrics, "CAPTURED_MAX", 2)
    monkeypatch.setattr(totals, "PROVIDERS_MAX", 4)
    scoped = [{"name": f"b{n}", "daily_limit": 1, "scope": {"components": [f"c{n}"]}} for n in range(8)]
    penia = await start(budgets=tuple(scoped))
    for number in range(8):
        body = {"component": f"c{number}", "provider": f"p{number}", "model": "m", "cost": number / 10}
        await penia.api("POST", "/api/v1/usage/record", body)
    days: Any = [(day, 0.5) for day in range(40)]
    penia.gateway._services.captured.update({f"p{n}": Captured(0.5, tuple(days)) for n in range(5)})

    found = await scraped(penia)

    ratios = {dict(labels)["name"]: ratio for labels, ratio in found["penia_budget_spent_ratio"].items()}
    assert ratios == {"b7": 0.7, "b6": 0.6, "b5": 0.5}
    assert value(found, "budget_windows_omitted") == 5
    assert value(found, "calls_total", provider="other", verdict="none", status="ok") == 4
    assert len(found["penia_calls_total"]) == 5
    assert len(found["penia_capture_ratio"]) == 2
    assert len(found["penia_capture_day_ratio"]) == 2 * metrics.CAPTURE_DAYS


async def test_what_waits_for_somebody_is_seen(start: Start) -> None:
    """Open alerts by kind, notifications that were given up, requests that nobody has answered, the capture rate."""
    hook = {"name": "gone", "url": "http://127.0.0.1:9/", "secret": "s"}
    asks = {"name": "asks", "daily_limit": 1e-7, "enforcement": "approve", "scope": {"components": ["asks"]}}
    penia = await start(budgets=(asks,), alerts={"webhooks": [hook], "thresholds": []})
    await penia.chat({"X-Penia-Component": "asks"})
    await penia.chat()
    await penia.api("POST", "/api/v1/reconciliations", {"report": report(penia, share=2)})
    await penia.gateway.ledger.caught_up()

    found = await scraped(penia)

    assert value(found, "alerts_open", type="approval", severity="warning") == 1
    assert value(found, "approvals_pending") == 1
    assert value(found, "notifications", state="pending") >= 1
    assert value(found, "notifications", state="dead") == 0
    assert value(found, "capture_ratio", provider="openai") == 0.5
    ((labels, rate),) = found["penia_capture_day_ratio"].items()
    assert (dict(labels)["provider"], rate) == ("openai", 0.5)
    _, waiting = await penia.api("GET", "/api/v1/approvals?state=pending")
    await penia.api("POST", f"/api/v1/approvals/{waiting['items'][0]['approval_id']}/deny")
    after = await scraped(penia)
    assert labelled(type="approval", severity="warning") not in after.get("penia_alerts_open", {})
    assert value(after, "approvals_pending") == 0


async def test_a_file_that_cannot_be_read_says_so(start: Start) -> None:
    """When the ledger fails, the numbers that do not need it are wanted most."""
    penia = await start()
    path = penia.gateway.config.ledger.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE alerts RENAME TO elsewhere")
        found = await scraped(penia)
        other.execute("ALTER TABLE elsewhere RENAME TO alerts")

    assert value(found, "ledger_readable") == 0
    assert "penia_held_usd" not in found
    assert value(found, "ledger_queue") <= 1  # of what a gateway writes as it starts
    assert value(await scraped(penia), "ledger_readable") == 1


async def test_every_metric_is_described(start: Start) -> None:
    """docs/metrics.md names each that a scrape has, with its labels, and no other."""
    penia = await start(budgets=({"name": "b", "daily_limit": 5},))
    async with penia.session.get(f"{penia.url}/metrics") as answer:
        text = await answer.text()
    shown = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))

    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    described = {
        name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }

    assert shown == described


@pytest.mark.parametrize("how", ["POST", "Host"])
async def test_it_is_guarded_as_the_control_plane_is(start: Start, how: str) -> None:
    """Another host's name is refused, and so is another method."""
    penia = await start()
    method, headers = ("POST", {}) if how == "POST" else ("GET", {"Host": "evil.example"})
    async with penia.session.request(method, f"{penia.url}/metrics", headers=headers) as answer:
        assert answer.status == (405 if how == "POST" else 403)
