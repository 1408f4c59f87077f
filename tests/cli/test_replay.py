"""``penia replay`` says what is exact and what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the number of the line that cannot be read."""
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\n")

    with pytest.raises(SystemExit) as ended:
        main(["replay", str(broken)])

    assert ended.value.code == 2
    assert "line 1" in capsys.readouterr().err
