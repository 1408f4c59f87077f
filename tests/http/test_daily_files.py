"""Daily files: written once, whole, also what was missed, by a gateway whose clock tests move."""

import asyncio
import csv
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import iso
from penia_proxy.config import Config, ExportConfig
from penia_proxy.export import daily
from penia_proxy.export.daily import due
from tests.api.client import NOON, MovedClock

Open = Callable[..., Awaitable[tuple[Gateway, aiohttp.ClientSession]]]


@pytest.fixture
def clock() -> MovedClock:
    """Monday noon."""
    return MovedClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files go."""
    made = tmp_path / "exports"
    made.mkdir()
    return made


@pytest.fixture
async def start(tmp_path: Path, folder: Path, clock: MovedClock) -> AsyncIterator[Open]:
    """Give tests a function that starts a gateway on the same ledger; one at a time."""
    async with AsyncExitStack() as stack:

        async def begin(**export: Any) -> tuple[Gateway, aiohttp.ClientSession]:
            config = Config.model_validate(
                {
                    "server": {"port": 0, "drain_seconds": 1},
                    "ledger": {"url": f"sqlite:///{tmp_path / 'penia.db'}", "durability": "normal"},
                    "export": {"directory": str(folder), **export},
                }
            )
            gateway = await Gateway(config, clock).start()
            stack.push_async_callback(gateway.stop)
            return gateway, await stack.enter_async_context(aiohttp.ClientSession())

        yield begin


async def use(gateway: Gateway, session: aiohttp.ClientSession, *moments: datetime) -> None:
    """Post a record of each moment."""
    for moment in moments:
        said = {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "cost": 0.5, "timestamp": iso(moment)}
        async with session.post(f"{gateway.url}/api/v1/usage/record", json=said) as answer:
            assert answer.status == 201


async def health(gateway: Gateway, session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get(f"{gateway.url}/health") as answer:
        body: dict[str, Any] = await answer.json()
        return body


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def counts(folder: Path) -> list[int]:
    """Return how many lines each file has, by name."""
    return [len((folder / name).read_text().splitlines()) for name in names(folder)]


async def test_yesterday_is_a_file_once_the_day_is_over(start: Open, folder: Path, clock: MovedClock) -> None:
    """Not before its hour, then once, with the day's records and what the export of that day says."""
    gateway, session = await start(at="00:15")
    await use(gateway, session, NOON, NOON - timedelta(hours=1))
    clock.move(timedelta(hours=12, minutes=14))
    await gateway._daily.look()
    assert names(folder) == []

    clock.move(timedelta(minutes=1))
    await use(gateway, session, clock.now())
    await gateway._daily.look()

    assert names(folder) == ["penia-usage_2026-11-23.csv"]
    file = folder / names(folder)[0]
    query = {"start_date": "2026-11-23", "end_date": "2026-11-23"}
    async with session.get(f"{gateway.url}/api/v1/usage/export", params=query) as answer:
        assert await answer.read() == file.read_bytes()
    with file.open(newline="") as text:
        assert len(list(csv.DictReader(text))) == 2
    assert (await health(gateway, session))["export_day"] == "2026-11-23"

    file.write_text("mine now")
    await gateway._daily.look()
    assert file.read_text() == "mine now"


async def test_what_was_missed_is_caught_up_with(start: Open, folder: Path, clock: MovedClock) -> None:
    """A start writes the days of the time in which nothing ran, those without use too, and none before the first."""
    gateway, session = await start(format="jsonl")
    await use(gateway, session, NOON - timedelta(hours=1))
    await gateway.stop()
    clock.move(timedelta(days=3))

    gateway, session = await start(format="jsonl")
    async with asyncio.timeout(20):
        while (await health(gateway, session))["export_day"] != "2026-11-25":
            await asyncio.sleep(0.02)

    assert names(folder) == [f"penia-usage_2026-11-{day}.jsonl" for day in (23, 24, 25)]
    assert counts(folder) == [1, 0, 0]


async def test_an_error_is_in_health_and_not_in_calls(
    start: Open, folder: Path, clock: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that is gone is said once in the log, and in health until it is back; records go on."""
    caplog.set_level(logging.ERROR, logger="penia_proxy")
    gateway, session = await start()
    await use(gateway, session, NOON)
    clock.move(timedelta(days=1))
    await asyncio.to_thread(folder.rmdir)
    await gateway._daily.look()
    await gateway._daily.look()

    said = await health(gateway, session)
    assert said["status"] == "healthy"
    assert "No such file" in said["export_error"]
    assert len([record for record in caplog.records if "daily export" in record.getMessage()]) == 1
    await use(gateway, session, clock.now())

    await asyncio.to_thread(folder.mkdir)
    await gateway._daily.look()
    assert (await health(gateway, session))["export_error"] is None
    assert names(folder) == ["penia-usage_2026-11-23.csv"]


async def test_half_a_file_never_has_the_name(
    start: Open, folder: Path, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails in the middle leaves nothing, and the next attempt writes all of it."""
    gateway, session = await start(format="jsonl")
    await use(gateway, session, NOON)
    clock.move(timedelta(days=1))

    def failing(*_asked: Any) -> Any:
        yield b"{}"
        raise OSError("made up")

    with monkeypatch.context() as broken:
        broken.setattr(daily, "exported", failing)
        await gateway._daily.look()
    assert names(folder) == []
    assert (await health(gateway, session))["export_error"] == f"{folder}: made up"

    await gateway._daily.look()
    (line,) = (folder / "penia-usage_2026-11-23.jsonl").read_text().splitlines()
    assert json.loads(line)["cost"] == 0.5


async def test_a_zones_day_is_its_own(start: Open, folder: Path, clock: MovedClock) -> None:
    """With a zone, a day is from its midnight to its midnight."""
    gateway, session = await start(timezone="Asia/Tokyo", format="jsonl")
    midnight = datetime(2026, 11, 22, 15, tzinfo=UTC)
    await use(gateway, session, midnight - timedelta(microseconds=1), midnight, midnight + timedelta(hours=20))
    clock.move(timedelta(hours=3, minutes=15))
    await gateway._daily.look()

    assert names(folder) == ["penia-usage_2026-11-22.jsonl", "penia-usage_2026-11-23.jsonl"]
    assert counts(folder) == [1, 2]


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-03-29T00:00:00Z", date(2026, 3, 28)),  # 01:00 in Berlin, where 02:00 does not come this night
        ("2026-03-29T01:00:00Z", date(2026, 3, 28)),
        ("2026-10-25T22:00:00Z", date(2026, 10, 24)),
        ("2026-10-25T23:30:00Z", date(2026, 10, 25)),
    ],
)
def test_days_are_due_across_changes_of_the_clock(now: str, last: date) -> None:
    """Days of 23 and 25 hours are due like others, and no more than a month of them."""
    config = ExportConfig(directory="x", timezone="Europe/Berlin", at="00:15")

    days = list(due(config, datetime(2026, 1, 1, tzinfo=UTC), datetime.fromisoformat(now)))

    assert days[-1] == last
    assert len(days) == daily.CATCH_UP_DAYS
    assert days == sorted(set(days))
