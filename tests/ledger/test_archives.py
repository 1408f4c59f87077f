"""Closed months in files of their own: whatever is asked, the answer is that of one file."""

import asyncio
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.sql import Executable

from penia_proxy.budget.record import UsageRecord
from penia_proxy.budget.usage import Usage
from penia_proxy.config import LedgerConfig
from penia_proxy.errors import ArchiveUnavailable, Conflict, DuplicateRequest, NotFound
from penia_proxy.ledger import archiving, history, lists, merging, summary, tidying
from penia_proxy.ledger import ledger as ledger_module
from penia_proxy.ledger.archives import Archive, Files
from penia_proxy.ledger.archiving import Archiving
from penia_proxy.ledger.file import open_for_reading, open_for_writing
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.orders import ORDERS, Sort
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.verify import examine
from penia_proxy.ledger.walk import walk
from tests.ledger.making import DEFAULT, NOON, StillClock, aged, budget, hold, record

FIRST = datetime(2024, 10, 1, tzinfo=UTC)
RETENTION = 6
COMPONENTS, MODELS = ("rhetor", "apollo", "scribe"), ("gpt-4o", "claude")
BOUNDARIES = [datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 13)]


def some_records(rng: random.Random, count: int) -> list[UsageRecord]:
    """Return calls of two years in no order of time, many of one instant or at a month's end, some with corrections."""
    found: list[UsageRecord] = []
    for number in range(count):
        basis = rng.choice(("reported", "estimated", "unpriced"))
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
                cost_basis=basis,
                cost_nanos=None if basis == "unpriced" else rng.randrange(40),
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


async def made(path: Path, rng: random.Random, count: int = 300, *, folded: bool = True) -> None:
    """Write a ledger of so many calls, with nothing archived."""
    async with opened(path) as ledger:
        await ledger.save_budget(budget())
        await ledger.save_budget(budget("b_team", timezone="Asia/Kathmandu"))
        for one in some_records(rng, count):
            await ledger.append(one, "f")
        while folded and await ledger.fold():
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
    often = rng.choice((0.1, 0.3, 0.7))  # so that none, one and several names are asked for together

    def maybe(*values: Any) -> tuple[Any, ...]:
        return (rng.choice(values),) if rng.random() < often else ()

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
            for sort, order in ORDERS.items():
                found = await ledger.lists.records(asked, order=order, page=page, limit=limit)
                yield f"page {page} of {limit} by {sort}, {asked}", found
                cursor = None
                for _ in range(rng.randrange(8)):
                    found = await ledger.lists.records(asked, order=order, limit=limit, cursor=cursor)
                    yield f"by {sort} and cursor {cursor}, {asked}", found
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
    monkeypatch.setattr(lists, "COUNTED_MAX", random.Random(seed).choice((25, 100, 10_000)))
    monkeypatch.setattr(merging, "PLACES_AT_ONCE", random.Random(seed).choice((20, 60, 4_000)))
    await made(path, random.Random(seed), folded=seed % 2 == 0)
    plain = copied(path, tmp_path / "plain")
    for steps in (random.Random(seed).randrange(1, 60), None):
        archive(path, steps=steps)
        assert examine(f"sqlite:///{path}").differences == []
        theirs = [one async for one in answers(plain, random.Random(seed), 3)]
        ours = [one async for one in answers(path, random.Random(seed), 3)]
        for one, other in zip(ours, theirs, strict=True):
            assert one == other

    assert len(list(path.parent.glob("penia-*.db"))) > 12


@pytest.mark.parametrize("sort", ORDERS)
async def test_a_deep_page_asks_an_archive_a_few_times(path: Path, sort: Sort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a page begins among the records of many files is found in steps of many records, however deep it is."""
    await made(path, random.Random(3), count=600)
    archive(path)
    monkeypatch.setattr(merging, "PLACES_AT_ONCE", 100)
    asked: Counter[str] = Counter()
    rows = Files.rows

    def counting(self: Files, archive: Archive, statement: Executable) -> Any:
        asked[archive.month] += 1
        return rows(self, archive, statement)

    async with opened(path) as ledger:
        monkeypatch.setattr(Files, "rows", counting)
        page = await ledger.lists.records(RecordFilter(), order=ORDERS[sort], page=40, limit=10)

    assert len(page.records) == 10
    assert max(asked.values()) <= 8


@pytest.fixture
async def moved(path: Path) -> Path:
    """Write a ledger with two calls in January 2025, one with a correction, and one of now; archive January."""
    january = datetime(2025, 1, 15, 7, 30, tzinfo=UTC)
    async with opened(path) as ledger:
        await ledger.save_budget(budget())
        await ledger.append(record("old", timestamp=january, once_key="openai:1"), "f")
        await ledger.append(record("other", timestamp=january + timedelta(hours=1)), "f")
        await ledger.append(
            replace(record("a_1"), corrects="old", timestamp=january, usage=Usage(), cost_nanos=100), "f"
        )
        await ledger.append(record("new"), "f")
    archive(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT record_id FROM usage_records").fetchall() == [("new",)]
    return path


def in_file(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


async def test_nothing_is_booked_twice(moved: Path) -> None:
    """The ids, fingerprints and once-keys of what was moved are known as before."""
    async with opened(moved) as ledger:
        before = await ledger.tallies(NOON)
        stored, created = await ledger.append(record("old"), "f")
        assert (stored.once_key, created) == ("openai:1", False)
        with pytest.raises(Conflict):
            await ledger.append(record("old"), "another")
        with pytest.raises(DuplicateRequest):
            await ledger.reserve(hold("old"), unique=True)
        stored, created = await ledger.append(record("again", once_key="openai:1"), "f")
        assert (stored.record_id, created) == ("old", False)
        await ledger.settle(record("old"))

        assert await ledger.tallies(NOON) == before
    assert not examine(f"sqlite:///{moved}").differences


async def test_what_was_moved_can_be_corrected(moved: Path) -> None:
    """A correction counts in the windows of its call, is listed with it, and is moved to the same file in its turn."""
    async with opened(moved) as ledger:
        old = await ledger.queries.record("old")
        assert old is not None
        await ledger.append(replace(old, record_id="a_2", corrects="old", once_key=None, cost_nanos=-50), "f")
        for_once = [one.record_id for one in await ledger.corrections("old")]
        piece = await ledger.history.piece(RecordFilter(end=NOON), limit=9)
    assert for_once == ["a_1", "a_2"]
    assert [(call.record.record_id, call.cost_nanos) for call in piece.calls] == [("old", 950), ("other", 900)]
    assert not examine(f"sqlite:///{moved}").differences

    archive(moved)
    assert in_file(moved, "SELECT record_id FROM usage_records") == [("new",)]
    assert in_file(moved, "SELECT month, records, cost_nanos FROM archives") == [("2025-01", 4, 1850)]
    async with opened(moved) as ledger:
        assert [one.record_id for one in await ledger.corrections("old")] == ["a_1", "a_2"]
    assert not examine(f"sqlite:///{moved}").differences


async def test_a_correction_of_nothing_is_refused_and_found(moved: Path) -> None:
    """Without a foreign key, it is the writer that refuses, and the verification that looks."""
    async with opened(moved) as ledger:
        with pytest.raises(NotFound):
            await ledger.append(replace(record("a_3"), corrects="nobody"), "f")
    in_file(moved, "DROP TRIGGER usage_records_no_UPDATE")
    in_file(moved, "UPDATE usage_records SET corrects = 'nobody'")

    found = [str(one) for one in examine(f"sqlite:///{moved}").differences]
    assert any(one.startswith("reference of record new: stored nobody") for one in found)


async def test_only_what_is_archived_can_be_deleted(moved: Path) -> None:
    """The guards let go what the ledger has the id of, and nothing else."""
    for statement in ("DELETE FROM usage_records", "DELETE FROM charges"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            in_file(moved, statement)


async def test_a_new_calendar_counts_what_was_moved(moved: Path) -> None:
    """The windows of a budget in another zone are made of all its charges, wherever they are."""
    async with opened(moved) as ledger:
        await ledger.save_budget(budget(timezone="Asia/Kathmandu"))
    assert not examine(f"sqlite:///{moved}").differences


async def test_numbers_go_on_where_everything_was_moved(moved: Path) -> None:
    """A ledger without a record of its own counts on: no number is given twice."""
    archive(moved, now=NOON + timedelta(days=400))
    assert in_file(moved, "SELECT count(*) FROM usage_records") == [(0,)]
    async with opened(moved) as ledger:
        await ledger.append(record("next"), "f")
        page = await ledger.lists.records(RecordFilter(), limit=2)
    assert ([one.record_id for one in page.records], page.total, page.exact) == (["next", "new"], 5, True)
    assert not examine(f"sqlite:///{moved}").differences


def missing(file: Path) -> None:
    file.unlink()


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)


def replaced(file: Path, statement: str) -> None:
    """Put another file in its place."""
    other = Path(shutil.copy(file, file.with_suffix(".other")))
    in_file(other, statement)
    other.replace(file)


def anothers(file: Path) -> None:
    replaced(file, "UPDATE archive SET archive_id = 'm_another'")


def older(file: Path) -> None:
    replaced(file, "DELETE FROM usage_records WHERE seq > 1")


def nothing(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("spoil", [missing, damaged, anothers, older, nothing])
async def test_a_month_that_cannot_be_read_is_said(moved: Path, spoil: Callable[[Path], None]) -> None:
    """What needs it fails and names the month; what does not is answered, and sums are as before."""
    file, of_one = moved.with_name("penia-2025-01.db"), RecordFilter(budget_id=DEFAULT, cost_bases=("reported",))
    async with opened(moved) as ledger:
        sums = [await ledger.summaries.summary(asked) for asked in (RecordFilter(), of_one)]
        assert await ledger.queries.record("old") is not None  # so that it is open already
        spoil(file)
        for question in (
            ledger.lists.records(RecordFilter()),
            ledger.queries.record("old"),
            ledger.queries.billed("openai:1"),
            ledger.queries.corrections("old"),
            ledger.history.piece(RecordFilter(), limit=1),
            ledger.summaries.summary(RecordFilter(start=datetime(2025, 1, 15, 7, 15, tzinfo=UTC))),
            ledger.summaries.top_usage(RecordFilter(), 3),
            ledger.lists.require(RecordFilter()),
            ledger.save_budget(budget(timezone="Asia/Kathmandu")),
        ):
            with pytest.raises(ArchiveUnavailable, match="2025-01"):
                await question
        assert "2025-01" in (ledger.archive_problem or "")
        late = RecordFilter(start=datetime(2025, 2, 1, tzinfo=UTC))
        assert [one.record_id for one in (await ledger.lists.records(late)).records] == ["new"]
        assert [await ledger.summaries.summary(asked) for asked in (RecordFilter(), of_one)] == sums
    with open_for_reading(f"sqlite:///{moved}") as connection, pytest.raises(ArchiveUnavailable):
        next(walk(connection, Files(moved), RecordFilter()))

    async with opened(moved) as ledger:  # a start is not refused
        assert (ledger.archives, "2025-01" in (ledger.archive_problem or "")) == (1, True)
    findings = examine(f"sqlite:///{moved}")
    assert findings.unread == ("2025-01",)
    assert [one.key for one in findings.differences] == ["2025-01"]


async def test_a_file_that_is_put_back_is_read(moved: Path) -> None:
    """Nobody need restart anything."""
    file = moved.with_name("penia-2025-01.db")
    async with opened(moved) as ledger:
        before = await ledger.lists.records(RecordFilter())
        file.rename(file.with_suffix(".away"))
        with pytest.raises(ArchiveUnavailable, match=f"{file} is missing: put it back"):
            await ledger.lists.records(RecordFilter())
        file.with_suffix(".away").rename(file)

        assert await ledger.lists.records(RecordFilter()) == before
        assert ledger.archive_problem is None


async def test_a_file_that_goes_and_comes_back_is_noticed(
    moved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Health says so, also where nobody asks for the month; and the log says when it is over."""
    monkeypatch.setattr(ledger_module, "LOOK_S", 0.001)
    file = moved.with_name("penia-2025-01.db")
    async with opened(moved) as ledger:
        looking = asyncio.create_task(ledger.keep_looking())
        file.rename(file.with_suffix(".away"))
        while ledger.archive_problem is None:
            await asyncio.sleep(0.001)
        file.with_suffix(".away").rename(file)
        while ledger.archive_problem is not None:
            await asyncio.sleep(0.001)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    assert any("no longer so: " in line and "2025-01" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE usage_records SET cost_nanos = 1 WHERE seq = 1", ["archive 2025-01 cost_nanos", "spend", "rollup"]),
        ("UPDATE usage_records SET fingerprint = 'x' WHERE seq = 1", ["archive 2025-01 ids that differ"]),
        ("UPDATE usage_records SET corrects = 'x' WHERE seq = 1", ["reference of record old"]),
        ("DELETE FROM charges WHERE record_seq = 1", ["charge of record old", "spend"]),
        (
            "UPDATE usage_records SET timestamp = '2025-02-01T00:00:00.000000Z' WHERE seq = 1",
            ["archive 2025-01 record old", "charge of record old", "rollup"],
        ),
    ],
)
async def test_what_was_changed_in_a_file_is_found(moved: Path, statement: str, found: list[str]) -> None:
    """A verification proves archives as it does the ledger."""
    in_file(moved.with_name("penia-2025-01.db"), statement)
    said = [str(one) for one in examine(f"sqlite:///{moved}").differences]

    assert [one for one in found if not any(line.startswith(one) for line in said)] == []


async def test_a_file_of_the_name_is_left_alone(path: Path) -> None:
    """What the ledger does not know is not written to, and its month stays where it is."""
    async with opened(path) as ledger:
        await ledger.append(record("old", timestamp=FIRST, budget_ids=()), "f")
    file = path.with_name("penia-2024-10.db")
    file.write_text("mine")
    with pytest.raises(ArchiveUnavailable, match="move it elsewhere"):
        archive(path)

    assert file.read_text() == "mine"
    assert in_file(path, "SELECT record_id FROM usage_records") == [("old",)]


async def test_a_record_that_does_not_read_back_stays(path: Path) -> None:
    """What was copied and is another by now is not taken out of the ledger."""
    async with opened(path) as ledger:
        await ledger.append(record("old", timestamp=FIRST, budget_ids=()), "f")
    archive(path, steps=1)
    in_file(path.with_name("penia-2024-10.db"), "UPDATE usage_records SET cost_nanos = 1")
    with pytest.raises(ArchiveUnavailable, match="differs"):
        archive(path)

    assert in_file(path, "SELECT record_id FROM usage_records") == [("old",)]
    assert not examine(f"sqlite:///{path}").differences


@pytest.mark.parametrize(
    ("now", "is_moved"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC), False),
        (datetime(2026, 12, 1, tzinfo=UTC), True),
    ],
)
async def test_a_month_is_due_when_it_has_been_over_for_so_long(path: Path, now: datetime, is_moved: bool) -> None:
    """May is over when June begins; six months later it is December."""
    async with opened(path) as ledger:
        await ledger.append(record("old", timestamp=datetime(2026, 5, 31, tzinfo=UTC), budget_ids=()), "f")
    archive(path, now=now)

    assert path.with_name("penia-2026-05.db").exists() is is_moved


async def test_a_quiet_ledger_archives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway moves what is due when nothing is written; its counters and its next numbers are as before."""
    monkeypatch.setattr(archiving, "RECORDS_AT_ONCE", 1)
    clock = StillClock()
    config = LedgerConfig(url=f"sqlite:///{path}", retention_months=1)
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    for number in range(5):
        await ledger.append(record(f"r_{number}"), "f")
    before = await ledger.lists.records(RecordFilter())
    clock.instant += timedelta(days=70)
    monkeypatch.setattr(tidying, "IDLE_S", 0.0)
    await ledger.append(record("wakes", timestamp=clock.now()), "f")
    while ledger.archives == 0 or in_file(path, "SELECT count(*) FROM usage_records") != [(1,)]:
        await asyncio.sleep(0.001)
    await ledger.append(record("next", timestamp=clock.now()), "f")
    page = await ledger.lists.records(RecordFilter())
    await ledger.close()

    assert [one.record_id for one in page.records[:2]] == ["next", "wakes"]
    assert page.records[2:] == before.records
    assert not examine(config.url).differences


async def test_what_fails_at_a_quiet_time_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month that cannot be moved is known, and all else that is for quiet times is done."""
    async with opened(path) as ledger:
        await ledger.append(record("old", timestamp=FIRST - timedelta(days=400), budget_ids=()), "f")
    path.with_name("penia-2023-08.db").mkdir()
    monkeypatch.setattr(tidying, "IDLE_S", 0.0)
    async with opened(path) as ledger:
        await ledger.append(record("wakes", budget_ids=()), "f")
        while ledger.archive_problem is None:
            await asyncio.sleep(0.001)
        assert "penia-2023-08.db is no archive that this ledger knows" in ledger.archive_problem
        assert (await ledger.lists.records(RecordFilter())).total == 2


async def test_a_ledger_of_before_is_archived(path: Path, tmp_path: Path) -> None:
    """A file that knew nothing of archives is migrated, and moves its months like any other."""
    await made(path, random.Random(9), count=60)
    plain = copied(path, tmp_path / "plain")
    aged(path, "0011")
    archive(path)

    assert examine(f"sqlite:///{path}").differences == []
    theirs = [one async for one in answers(plain, random.Random(9), 1)]
    assert [one async for one in answers(path, random.Random(9), 1)] == theirs
    assert len(list(path.parent.glob("penia-*.db"))) > 12


async def test_an_archive_of_before_a_column_is_read(moved: Path) -> None:
    """What an earlier version has made is read with what it lacks as null, and brought up to date when written to."""
    file = moved.with_name("penia-2025-01.db")
    in_file(file, "ALTER TABLE usage_records DROP COLUMN words")
    async with opened(moved) as ledger:
        old = await ledger.queries.record("old")
        assert old is not None
        assert old.words is None
        await ledger.append(replace(old, record_id="a_2", corrects="old", once_key=None, words="w"), "f")
    archive(moved)
    async with opened(moved) as ledger:
        assert [one.words for one in await ledger.corrections("old")] == [None, "w"]
    assert not examine(f"sqlite:///{moved}").differences
