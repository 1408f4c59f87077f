"""What a provider billed against what was captured: a gateway, a provider with a bill of its own, and the commands."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from tests.gateways import Running, Start, billed_nanos


def report(penia: Running, share: float = 1) -> dict[str, Any]:
    """Return what OpenAI's costs API would say of the sandbox's bill, or of a part of it."""
    day = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
    half = billed_nanos(penia) * share / 2e9
    results = [
        {
            "object": "organization.costs.result",
            "amount": {"value": half, "currency": "usd"},
            "line_item": f"gpt-4o-mini-2024-07-18, {what}",
            "project_id": None,
        }
        for what in ("input", "output")
    ]
    bucket = {
        "object": "bucket",
        "start_time": int(day.timestamp()),
        "end_time": int((day + timedelta(days=1)).timestamp()),
        "results": results,
    }
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


async def calls(start: Start, count: int = 3) -> Running:
    penia = await start()
    for _ in range(count):
        assert (await penia.chat()).status == 200
    return penia


async def test_what_was_billed_was_captured(start: Start) -> None:
    """The provider's own bill, in its report's shape, is captured whole: by day, by model and in health."""
    penia = await calls(start)

    status, body = await penia.api("POST", "/api/v1/reconciliations", {"report": report(penia)})

    assert status == 201, body
    (line,) = body["lines"]
    assert (line["model"], line["requests"]) == ("gpt-4o-mini", 3)
    assert line["billed"] == line["captured"] == body["billed"] == body["captured"] > 0
    assert (line["capture_rate"], body["capture_rate"], body["drifts"], body["is_whole"]) == (1.0, 1.0, False, True)
    assert (body["provider"], body["source"]) == ("openai", "openai")
    _, health = await penia.api("GET", "/health")
    assert health["capture_rates"] == {"openai": 1.0}


async def test_comparisons_are_kept_and_survive(start: Start) -> None:
    """Each is listed newest first and shown with its lines; a restart knows the newest rate."""
    penia = await calls(start)
    path = "/api/v1/reconciliations"
    _, first = await penia.api("POST", path, {"report": report(penia), "provider": "openai"})
    _, second = await penia.api("POST", path, {"report": report(penia, share=2), "provider": "openai"})
    _, other = await penia.api("POST", path, {"report": report(penia), "provider": "elsewhere"})

    _, listed = await penia.api("GET", path)
    _, filtered = await penia.api("GET", f"{path}?provider=openai&limit=1")
    _, shown = await penia.api("GET", f"{path}/{first['reconciliation_id']}")
    missing, _ = await penia.api("GET", f"{path}/none")

    ids = [one["reconciliation_id"] for one in (other, second, first)]
    assert [one["reconciliation_id"] for one in listed["items"]] == ids
    assert (filtered["total"], filtered["items"]) == (2, [{k: v for k, v in second.items() if k != "lines"}])
    assert shown == first
    assert missing == 404
    assert (other["captured"], other["capture_rate"]) == (0.0, 0.0)
    await penia.gateway.stop()
    again = await Gateway(penia.gateway.config, SystemClock()).start()
    try:
        async with penia.session.get(f"{again.url}/health") as answer:
            assert (await answer.json())["capture_rates"] == {"elsewhere": 0.0, "openai": 0.5}
    finally:
        await again.stop()


async def test_a_bill_that_was_not_captured_is_told_once(start: Start) -> None:
    """An alert says by how much; the same days compared again are the same alert."""
    penia = await calls(start)

    for _ in range(2):
        await penia.api("POST", "/api/v1/reconciliations", {"report": report(penia, share=1000), "provider": "openai"})

    _, alerts = await penia.api("GET", "/api/v1/alerts")
    (alert,) = alerts["items"]
    assert (alert["alert_type"], alert["details"]["rate"]) == ("anomaly", 0.001)


async def test_a_report_that_is_none_is_refused(start: Start) -> None:
    """What is no report of costs is a 422 that says why, and nothing is kept."""
    penia = await start()

    for given in ({"report": {"data": []}}, {"report": None}, {}):
        status, body = await penia.api("POST", "/api/v1/reconciliations", given)
        assert (status, body["code"], body["detail"][0]["field"]) == (422, "invalid_fields", "report")
    _, listed = await penia.api("GET", "/api/v1/reconciliations")
    assert listed["total"] == 0


def long_report(days: int, lines: int, usd: float = 0.01) -> dict[str, Any]:
    """Return a report of so many lines a day, by project and line item, as a large organization's is."""
    last = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
    buckets = []
    for day in range(days):
        start = last - timedelta(days=day)
        results = [
            {
                "object": "organization.costs.result",
                "amount": {"value": usd, "currency": "usd"},
                "line_item": f"gpt-4o-mini-2024-07-18, {'input' if number % 2 else 'output'}",
                "project_id": f"proj_{number:08}",
                "organization_id": "org_of_a_name_that_is_as_long_as_they_are",
            }
            for number in range(lines)
        ]
        times = {"start_time": int(start.timestamp()), "end_time": int((start + timedelta(days=1)).timestamp())}
        buckets.append({"object": "bucket", **times, "results": results})
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


async def test_a_report_of_many_megabytes_is_compared(start: Start) -> None:
    """By project it has thousands of lines a day; they are one line a day and model, and calls go on meanwhile."""
    penia = await calls(start, 1)
    body = json.dumps({"report": long_report(days=40, lines=1_000)}).encode()
    assert len(body) > 8_000_000
    waits: list[float] = []

    async def calling() -> None:
        while True:
            began = penia.gateway.clock.monotonic()
            assert (await penia.chat()).status == 200
            waits.append(penia.gateway.clock.monotonic() - began)

    meanwhile = asyncio.create_task(calling())
    async with penia.session.post(f"{penia.url}/api/v1/reconciliations", data=BytesIO(body)) as answer:
        said = await answer.json()
    meanwhile.cancel()

    assert answer.status == 201, said
    assert len(said["lines"]) == 40
    assert said["billed"] == 400.0
    assert waits, "no call came through while the report was read"


async def test_one_large_report_is_read_at_a_time(start: Start) -> None:
    """What is larger than a form takes the one place there is; another is told so, and the place is free again."""
    penia = await start()
    url = f"{penia.url}/api/v1/reconciliations"
    body = json.dumps({"report": long_report(days=10, lines=700)}).encode()
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:1_500_000]
        await go_on.wait()
        yield body[1_500_000:]

    first = asyncio.create_task(penia.session.post(url, data=slowly()))
    while not penia.gateway._services.large_body:
        await asyncio.sleep(0.01)
    async with penia.session.post(url, data=BytesIO(body)) as second:
        assert (second.status, (await second.json())["code"]) == (503, "overloaded")
    go_on.set()
    assert (await first).status == 201
    async with penia.session.post(url, data=BytesIO(body)) as third:
        assert third.status == 201
    assert penia.gateway._services.large_body is False


@pytest.mark.parametrize(
    ("begins", "repeated", "times", "ends", "status"),
    [
        (b'{"report": "', b"x", 33_000_000, b'"}', 413),
        (b'{"report": {"data": [', b"{},", 400_000, b"{}]}}", 400),
        (b'{"provider": "a", "provider": "b", "report": "', b"x", 2_000_000, b'"}', 400),
        (b'{"provider": 5, "report": "', b"x", 2_000_000, b'"}', 422),
        (b'{"report": "\\u0000', b"x", 2_000_000, b'"}', 400),
        (b'{"unknown": 5, "report": "', b"x", 2_000_000, b'"}', 422),
    ],
    ids=["too large", "too many objects", "a key twice", "a wrong type", "a NUL", "an unknown field"],
)
async def test_a_large_body_is_read_as_strictly(
    start: Start, begins: bytes, repeated: bytes, times: int, ends: bytes, status: int
) -> None:
    """What a small one is refused for, a large one is refused for."""
    penia = await start()
    body = BytesIO(begins + repeated * times + ends)

    async with penia.session.post(f"{penia.url}/api/v1/reconciliations", data=body) as answer:
        assert answer.status == status, (await answer.text())[:200]
    assert penia.gateway._services.large_body is False


async def test_other_bodies_are_no_larger_than_before(start: Start) -> None:
    """Only what a provider's report may need is allowed for."""
    penia = await start()

    async with penia.session.post(f"{penia.url}/api/v1/usage/summary", data=b" " * 1_000_001) as answer:
        assert answer.status == 413


async def test_a_later_report_that_fits_resolves_a_drift(start: Start) -> None:
    """Not one of another provider, nor of days before. What drifts after it is told anew; a restart knows it."""
    penia = await calls(start)
    path = "/api/v1/reconciliations"

    async def compare(share: float, provider: str = "openai", days: int = 0) -> list[bool]:
        """Return of each alert, oldest first, whether it is resolved."""
        said = report(penia, share=share)
        for bucket in said["data"]:
            bucket["start_time"] += days * 86_400
            bucket["end_time"] += days * 86_400
        assert (await penia.api("POST", path, {"report": said, "provider": provider}))[0] == 201
        _, alerts = await penia.api("GET", "/api/v1/alerts")
        return [alert["resolved_at"] is not None for alert in reversed(alerts["items"])]

    assert await compare(1000) == [False]
    assert await compare(0, "elsewhere") == [False]
    assert await compare(0, days=-1) == [False]
    assert await compare(1) == [True]
    assert await compare(1000) == [True, False]
    assert await compare(1000) == [True, False]

    await penia.gateway.stop()
    again = await Gateway(penia.gateway.config, SystemClock()).start()
    penia = Running(again, penia.sandbox, penia.session)
    try:
        assert await compare(1000) == [True, False]
        assert await compare(0, days=1) == [True, True]
    finally:
        await again.stop()


async def test_the_command_shows_and_says_drifts(start: Start, tmp_path: Path) -> None:
    """A table by day and model; exit 1, and why, where the two are far apart; a page a file."""
    penia = await calls(start)
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    whole.write_text(json.dumps(report(penia)))
    part.write_text(json.dumps({**report(penia, share=1000), "has_more": True}))

    code, out, err = await penia_command("reconcile", str(whole), "--url", penia.url)
    assert (code, err) == (0, "")
    assert "gpt-4o-mini" in out
    assert "100.0%" in out
    code, out, _ = await penia_command("reconcile", str(part), "--url", penia.url)
    assert code == 1
    assert "0.1%" in out
    assert "more pages follow" in out
    code, out, _ = await penia_command("reconcile", str(whole), "--json", "--url", penia.url)
    assert (code, json.loads(out)["capture_rate"]) == (0, 1.0)
    code, _, err = await penia_command("reconcile", str(tmp_path / "none.json"), "--url", penia.url)
    assert code == 2
    assert "cannot be read" in err
    code, _, err = await penia_command("reconcile", str(whole), str(whole), "--url", penia.url)
    assert code == 1
    assert "twice" in err


async def penia_command(*arguments: str) -> tuple[int, str, str]:
    """Run a command as a process; return exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penia_proxy", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
