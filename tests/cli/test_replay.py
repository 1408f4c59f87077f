"""``penia replay`` says what is exact and what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.cli import main

SMALL = Path(__file__).parent.parent / "replay" / "small.jsonl"
SESSIONS = SMALL.with_name("sessions.jsonl")


def replayed(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["replay", *arguments])
    return int(ended.value.code or 0), capsys.readouterr().out


@pytest.mark.parametrize("chunk", ["1", "17", "100000"])
def test_small_exchanges_are_metered_exactly(chunk: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Our own recordings, in any pieces: all exact but the stream that was recorded without usage."""
    code, out = replayed(str(SMALL), "--chunk", chunk, capsys=capsys)

    assert code == 0
    total = out.split("\nall ")[1].split("\n")[0].split()
    assert total == ["14", "13", "1", "0"]
    assert "recorded without usage" in out


def test_sessions_are_metered_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours, of each kind that is recorded: all exact but the one whose provider states no usage."""
    code, out = replayed(str(SESSIONS), str(SMALL), capsys=capsys)

    assert code == 0
    total = out.split("\nall ")[1].split("\n")[0].split()
    assert total == ["17", "15", "2", "0"]
    assert "states none" in out


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: row["expected"]["events"][1]["usage"].update(output_tokens=1), "no record of response.done"),
        (lambda row: row["expected"]["events"][1].update(cost_usd="0.1"), "no record of response.done"),
        (lambda row: row["expected"]["events"].pop(), "1 records beyond the expected"),
        (lambda row: row["expected"]["events"].append(row["expected"]["events"][1]), "no record of response.done"),
        (lambda row: row.update(model=""), "status 400"),
    ],
    ids=["tokens", "cost", "too many records", "too few", "refused"],
)
def test_what_differs_in_a_session_is_wrong(
    change: Callable[[Any], None], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bill that differs, one too few or too many, and a session that is not carried: named, and exit code 1."""
    row = json.loads(SESSIONS.read_text().splitlines()[0])
    change(row)
    changed = tmp_path / "changed.jsonl"
    changed.write_text(json.dumps(row))

    code, out = replayed(str(changed), capsys=capsys)

    assert code == 1
    assert f"wrong: session-00 openai realtime: {why}" in out


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("usage", "output_tokens"), 1),
        (("usage", "input_tokens"), 1),
        (("best_cost_usd",), "0.5"),
        (("best_cost_usd",), None),
        (("billable",), False),
    ],
)
def test_what_differs_is_wrong(
    path: tuple[str, ...], value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens, cost, or a record where none was due: named, and exit code 1."""
    row = json.loads(SMALL.read_text().splitlines()[0])
    place = row["expected"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    changed = tmp_path / "changed.jsonl"
    changed.write_text(json.dumps(row))

    code, out = replayed(str(changed), capsys=capsys)

    assert code == 1
    assert "wrong: small-00 openai chat" in out


def test_a_correction_of_ours_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What differs from the file's price only by an entry of pricing/ is no fault, and is named; tokens still are."""
    row = json.loads(SMALL.read_text().splitlines()[0])
    said = {"model": "mistral-large-latest", "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}
    row |= {"provider": "mistral", "model": "mistral-large-latest"}
    row["request"] |= {"url": "https://api.mistral.ai/v1/chat/completions", "body": json.dumps(said | {"messages": []})}
    row["response"]["body"] = json.dumps(said | {"choices": []})
    row["expected"] |= {"usage": {"input_tokens": 10, "output_tokens": 5}, "best_cost_usd": "0.00005"}
    recorded = tmp_path / "recorded.jsonl"
    recorded.write_text(json.dumps(row))

    _, out = replayed(str(recorded), capsys=capsys)
    assert out.split("\nall ")[1].split("\n")[0].split() == ["1", "1", "0", "0"]
    code, out = replayed(str(recorded), "--at", "2026-11-25T12:00:00Z", capsys=capsys)
    assert code == 0
    assert "pricing/ corrects what the catalogue has for mistral-large-latest of mistral" in out
    row["expected"]["usage"]["output_tokens"] = 6
    recorded.write_text(json.dumps(row))
    assert replayed(str(recorded), "--at", "2026-11-25T12:00:00Z", capsys=capsys)[0] == 1


def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the number of the line that cannot be read."""
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\n")

    with pytest.raises(SystemExit) as ended:
        main(["replay", str(broken)])

    assert ended.value.code == 2
    assert "line 1" in capsys.readouterr().err


ENDPOINTS = SMALL.with_name("endpoints.jsonl")


@pytest.mark.parametrize("chunk", ["1", "100000"])
def test_other_endpoints_are_metered_exactly(chunk: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Interactions, documents, decisions, and what stands before a path is a base URL's: all that carry usage."""
    code, out = replayed(str(ENDPOINTS), "--chunk", chunk, capsys=capsys)

    assert code == 0
    assert out.endswith(
        "7 exchanges carry usage: 7 exact (100.00 %), 0 explained, 0 wrong.\n"
        "1 bill and carry no usage: 1 metered at an estimate, 0 refused.\n"
        "2 bill nothing.\n"
    )


def test_the_closing_lines_name_what_is_not_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the share that is, and the reason beside each id."""
    rows = [json.loads(line) for line in SMALL.read_text().splitlines()]
    rows[0]["request"]["url"] = "https://api.openai.com/v1/videos"
    rows[7]["expected"]["best_cost_usd"] = "0.5"
    rows[2]["request"]["url"] = "https://api.openai.com/v1/videos"
    changed = tmp_path / "changed.jsonl"
    changed.write_text("\n".join(map(json.dumps, rows)))

    code, out = replayed(str(changed), capsys=capsys)

    assert code == 1
    assert "11 exchanges carry usage: 9 exact (81.82 %), 1 explained, 1 wrong." in out
    assert "not exact (1): this path is not metered yet, so it is refused (404 unmetered_route): small-00\n" in out
    assert "expected 0.5: small-07\n" in out
    assert "1 bill and carry no usage: 0 metered at an estimate, 1 refused." in out


def test_the_same_prices_give_the_same_costs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was metered and priced again by the book that priced it stays as it is, whatever kind of answer it was."""
    found: list[dict[str, Any]] = []
    stop = Gateway.stop

    async def priced_again(gateway: Gateway) -> None:
        asked = {"since": "2020-01-01", "until": "2099-01-01"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/api/v1/prices/reprice", json=asked) as answer,
        ):
            found.append(await answer.json())
        await stop(gateway)

    monkeypatch.setattr(Gateway, "stop", priced_again)
    replayed(str(SMALL), str(ENDPOINTS), str(SESSIONS), "--chunk", "100000", capsys=capsys)

    assert [one["items"] for one in found] == [[]]
    assert found[0]["unchanged"] > 15
