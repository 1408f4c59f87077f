"""Closed months in files of their own: whatever is asked, the answer is that of one file."""

import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import Usage
from penia_proxy.config import LedgerConfig
from penia_proxy.ledger import archiving, history, queries, summary
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.archiving import Archiving
from penia_proxy.ledger.file import open_for_reading, open_for_writing
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.verify import examine
from penia_proxy.ledger.walk import walk
from tests.ledger.making import DEFAULT, NOON, StillClock, budget, record

FIRST = datetime(2024, 10, 1, tzinfo=UTC)
RETENTION = 6
COMPONENTS, MODELS = ("rhetor", "apollo", "scribe"), ("gpt-4o", "claude")
BOUNDARIES = [datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 13)]


def some_records(rng: random.Random, count: int) -> list[UsageRecord]:
    """Return calls of two years in no order of time, many of one instant or at a month's end, some with corrections."""
    found: list[UsageRecord] = []
    for number in range(count):
        at = FIRST + timedelta(seconds=rng.randrange(int((NOON - FIRST).total_seconds())))
        if rng.random() < 0.3:
            at = rng.choice(BOUNDARIES) - timedelta(microseconds=rng.randrange(2))
        found.append(
            record(
                f"r_{number}",
                timestamp=at,
                component=rng.choice(COMPONENTS),
                model=rng.choice(MODELS),
                provider=rng.choice(("openai", "anthropic")),
                task_type=rng.choice((None, "chat")),
                cost_basis=rng.choice(("reported", "estimated", "unpriced")),
                cost_nanos=rng.randrange(1_000),
                budget_ids=rng.choice(((), (DEFAULT,), ("b_team", DEFAULT))),
                once_key=rng.choice((None, f"openai:{number}")),
                tags={"team": rng.choice("ab")},
                usage=Usage(input=rng.randrange(50), output=rng.randrange(50)),
            )
        )
        if rng.random() < 0.1:
            corrected = rng.choice(found)
            if corrected.corrects is None:
                found.append(
                    replace(
                        corrected,
                        record_id=f"a_{number}",
                        corrects=corrected.record_id,
                        usage=Usage(),
                        cost_nanos=7,
                        once_key=None,
                    )
                )
    return found


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Ledger]:
    """Open a ledger."""
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}", durability="normal"), StillClock())
    try:
        yield ledger
    finally:
        await ledger.close()


async def made(path: Path, rng: random.Random, count: int = 300) -> None:
    """Write a ledger of so many calls, with nothing archived."""
    async with opened(path) as ledger:
        await ledger.save_budget(budget())
        await ledger.save_budget(budget("b_team", timezone="Asia/Kathmandu"))
        for one in some_records(rng, count):
            await ledger.append(one, "f")
        while await ledger.fold():
            pass


def archive(path: Path, *, steps: int | None = None, retention: int = RETENTION, now: datetime = NOON) -> None:
    """Move what is due, or only take so many steps."""
    _, lock, connection = open_for_writing(LedgerConfig(url=f"sqlite:///{path}", durability="normal"))
    with closing(connection):
        moving = Archiving(Files(path), retention, lambda: now).steps(connection)
        for number, _ in enumerate(moving):
            if number == steps:
                break
        moving.close()
    lock.release()


def copied(path: Path, to: Path) -> Path:
    """Copy a closed ledger without its archives."""
    to.mkdir()
    return Path(shutil.copy(path, to / path.name))


def some_filter(rng: random.Random) -> RecordFilter:
    def maybe(*values: Any) -> tuple[Any, ...]:
        return (rng.choice(values),) if rng.random() < 0.3 else ()

    start, end = sorted(FIRST + timedelta(hours=rng.randrange(-100, 24 * 800)) for _ in range(2))
    return RecordFilter(
        components=maybe(*COMPONENTS, "nobody"),
        models=maybe(*MODELS),
        task_types=maybe("chat"),
        cost_bases=maybe("reported", "unpriced"),
        budget_id=rng.choice((None, None, DEFAULT, "b_team")),
        start=rng.choice((None, start, rng.choice(BOUNDARIES))),
        end=rng.choice((None, end)),
    )


async def answers(path: Path, rng: random.Random, rounds: int) -> AsyncIterator[tuple[str, Any]]:
    """Ask everything that is read from records, at random, of a ledger."""
    async with opened(path) as ledger:
        yield "oldest", await ledger.queries.oldest()
        for _ in range(rounds):
            asked, limit = some_filter(rng), rng.randrange(1, 40)
            page = rng.randrange(1, 12)
            cursor = None
            yield f"page {page} of {limit}, {asked}", await ledger.queries.records(asked, page=page, limit=limit)
            for _ in range(rng.randrange(8)):
                found = await ledger.queries.records(asked, limit=limit, cursor=cursor)
                yield f"by cursor {cursor}, {asked}", found
                cursor = found.next_cursor
            yield f"top of {asked}", await ledger.summaries.top_usage(asked, 3)
            cursor = None
            calls = replace(asked, budget_id=None)
            for _ in range(rng.randrange(8)):
                piece = await ledger.history.piece(calls, limit=limit, cursor=cursor)
                yield f"piece {cursor} of {calls}", piece
                cursor = piece.next_cursor
            yield f"newest {calls}", await ledger.history.newest(replace(calls, start=None, end=None), limit)
            kinds = await ledger.history.kinds(asked.start or FIRST, rng.randrange(1, 300))
            yield "kinds", sorted(kinds, key=str)
            yield f"summary of {asked}", await ledger.summaries.summary(asked)
            for bucket in ("hour", "day"):
                yield f"by {bucket}, {asked}", await ledger.summaries.series(asked, bucket)  # type: ignore[arg-type]
            groups = await ledger.summaries.series_of_groups(asked, "day", "component", 2)
            yield f"of groups, {asked}", list(groups.items())
            yield f"of days and models, {asked}", await ledger.summaries.by_day_and_model(asked)
            with open_for_reading(f"sqlite:///{path}") as connection:
                yield f"walk {asked}", [*walk(connection, Files(path), asked, size=limit)]
        for number in range(0, 300, 7):
            yield f"record {number}", await ledger.queries.record(f"r_{number}")
            yield f"bill {number}", await ledger.queries.billed(f"openai:{number}")
            yield f"corrections of {number}", await ledger.queries.corrections(f"r_{number}")
        for name in (*COMPONENTS, "nobody"):
            yield f"seen {name}", await ledger.queries.seen("component", name)


@pytest.mark.parametrize("seed", range(6))
async def test_answers_are_those_of_one_file(path: Path, tmp_path: Path, seed: int, monkeypatch: Any) -> None:
    """Lists, sums, exports and single records, whole or half moved, are the same as of a copy without archives."""
    monkeypatch.setattr(archiving, "RECORDS_AT_ONCE", 7)
    monkeypatch.setattr(history, "NEWEST_READ_MAX", random.Random(seed).choice((30, 150)))
    monkeypatch.setattr(summary, "TOP_OF", random.Random(seed).choice((20, 130)))
    monkeypatch.setattr(queries, "COUNTED_MAX", random.Random(seed).choice((25, 100, 10_000)))
    await made(path, random.Random(seed))
    plain = copied(path, tmp_path / "plain")
    for steps in (random.Random(seed).randrange(1, 60), None):
        archive(path, steps=steps)
        assert examine(f"sqlite:///{path}").differences == []
        theirs = [one async for one in answers(plain, random.Random(seed), 6)]
        ours = [one async for one in answers(path, random.Random(seed), 6)]
        for one, other in zip(ours, theirs, strict=True):
            assert one == other

    assert len(list(path.parent.glob("penia-*.db"))) > 12
