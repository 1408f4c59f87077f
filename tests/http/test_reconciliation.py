"""What a provider billed against what was captured: a gateway, a provider with a bill of its own, and the commands."""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

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
