"""What the ledger's moves write: holds, settlements, releases, posted records, recovery, and many of them at once."""

import asyncio
import sqlite3
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.budget.record import Tally
from penia_proxy.budget.usage import Usage
from penia_proxy.budget.windows import WindowKey
from penia_proxy.config import LedgerConfig
from penia_proxy.errors import Conflict, DuplicateRequest, InvalidRequest, InvariantError, NotFound, StoreUnavailable
from penia_proxy.ledger import writer
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from tests.ledger.making import DEFAULT, NOON, StillClock, budget, hold, record


def rows(connection: sqlite3.Connection, table: str) -> int:
    """Count a table's rows."""
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def spent(ledger: Ledger, budget_id: str = DEFAULT) -> dict[str, Tally]:
    """Return a budget's present tallies by period."""
    return {key.period: tally for key, tally in (await ledger.tallies(NOON)).items() if key.budget_id == budget_id}


async def test_a_reserved_hold_is_on_disk(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """When `reserve` returns, another connection sees the hold."""
    await ledger.reserve(hold("r_1"))

    assert beside.execute("SELECT hold_id, amount_nanos FROM holds").fetchall() == [("r_1", 1_000)]
    assert ledger.holds_open == 1


async def test_settling_turns_a_hold_into_a_record(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """Once settled there is a record, a charge and all five windows' spend, and no hold."""
    await ledger.reserve(hold("r_1"))
    await ledger.settle(record("r_1"))

    assert rows(beside, "holds") == ledger.holds_open == 0
    assert rows(beside, "usage_records") == rows(beside, "charges") == 1
    counted = Tally(spent_nanos=900, input_tokens=20, output_tokens=5, request_count=1)
    assert await spent(ledger) == dict.fromkeys(("hourly", "daily", "weekly", "monthly", "total"), counted)


async def test_a_record_reads_back_as_it_was_written(ledger: Ledger) -> None:
    """Every member of a record survives the file, the rare ones too."""
    await ledger.save_budget(budget("b_other"))
    written = record(
        "r_1",
        timestamp=NOON + timedelta(microseconds=1),
        usage=Usage(
            input=1,
            output=2,
            input_audio=3,
            output_image=4,
            units={"web_searches": 2},
            service_tier="flex",
            speed="fast",
        ),
        budget_ids=("b_other", DEFAULT),
        task_type="chat",
        request_id="q-1",
        pricing_version="p1",
        estimated_nanos=1_000,
        streamed=True,
        status="cut",
        latency_ms=12.5,
        ttft_ms=3.25,
        tags={"team": "søk"},
        metadata={"nested": {"list": [1, None, "x"]}},
    )

    await ledger.settle(written)

    assert await ledger.queries.record("r_1") == written


async def test_settling_twice_equals_once(ledger: Ledger) -> None:
    """The second settlement of an id changes nothing, in the same batch or a later one."""
    await ledger.reserve(hold("r_1"))
    await asyncio.gather(ledger.settle(record("r_1")), ledger.settle(record("r_1", cost_nanos=5)))
    await ledger.settle(record("r_1", cost_nanos=7))

    assert (await spent(ledger))["total"].spent_nanos == 900


async def test_releasing_leaves_nothing(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """A released hold is gone, and releasing it again, or one that never was, is nothing."""
    await ledger.reserve(hold("r_1"))
    await asyncio.gather(ledger.release("r_1"), ledger.release("r_1"), ledger.release("r_never"))

    assert rows(beside, "holds") == rows(beside, "usage_records") == ledger.holds_open == 0


async def test_a_released_id_can_be_reserved_again_at_once(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """In one batch: a hold that is released before the id is reserved again does not stand in its way."""
    await ledger.reserve(hold("r_1"), unique=True)
    gone = ledger.release("r_1")
    await asyncio.gather(gone, ledger.reserve(hold("r_1", amount_nanos=2_000), unique=True))

    assert beside.execute("SELECT amount_nanos FROM holds").fetchall() == [(2_000,)]


async def test_an_open_id_is_not_reserved_again(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """Of a hundred holds with one id, one is opened and the others are duplicates."""
    answers = await asyncio.gather(*(ledger.reserve(hold("r_1")) for _ in range(100)), return_exceptions=True)

    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, DuplicateRequest) for answer in answers) == 99
    assert rows(beside, "holds") == 1


async def test_a_settled_id_is_not_reserved_again_where_it_must_be_unique(ledger: Ledger) -> None:
    """An id that a caller chose is refused for ever once it has a record."""
    await ledger.reserve(hold("r_1"))
    await ledger.settle(record("r_1"))

    with pytest.raises(DuplicateRequest):
        await ledger.reserve(hold("r_1"), unique=True)


async def test_a_duplicate_fails_alone(ledger: Ledger) -> None:
    """A move that is refused does not touch the others of its batch."""
    await ledger.reserve(hold("r_1"))
    answers = await asyncio.gather(
        ledger.reserve(hold("r_2")), ledger.reserve(hold("r_1")), ledger.reserve(hold("r_3")), return_exceptions=True
    )

    assert [type(answer).__name__ for answer in answers] == ["NoneType", "DuplicateRequest", "NoneType"]
    assert ledger.holds_open == 3


@pytest.mark.parametrize(
    "bad", [{"task_type": "\ud800"}, {"latency_ms": object()}, {"pricing_version": ["p1"]}, {"estimated_nanos": 2**70}]
)
async def test_a_record_that_cannot_be_written_fails_alone(ledger: Ledger, bad: dict[str, Any]) -> None:
    """What no column can hold fails with its own error; its hold stays, and the rest of the batch is written."""
    await ledger.reserve(hold("r_bad"))
    answers = await asyncio.gather(
        ledger.settle(record("r_1")),
        ledger.settle(record("r_bad", **bad)),
        ledger.settle(record("r_2")),
        return_exceptions=True,
    )

    assert [type(answer).__name__ for answer in answers] == ["NoneType", "InvariantError", "NoneType"]
    assert (await spent(ledger))["total"].request_count == 2
    assert ledger.holds_open == 1
    assert ledger.healthy


async def test_an_unknown_budget_is_a_defect(ledger: Ledger) -> None:
    """No hold is opened on a budget the ledger does not have: it could not be counted."""
    with pytest.raises(InvariantError, match="b_nobody"):
        await ledger.reserve(hold("r_1", budget_ids=(DEFAULT, "b_nobody")))

    assert ledger.holds_open == 0


async def test_two_hundred_calls_at_once(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """Concurrent calls are each reserved and settled once, and their sum is exact."""

    async def call(number: int) -> None:
        await ledger.reserve(hold(f"r_{number}"))
        await ledger.settle(record(f"r_{number}", cost_nanos=number))

    await asyncio.gather(*(call(number) for number in range(200)))

    assert rows(beside, "holds") == ledger.holds_open == ledger.queue_depth == 0
    assert (await spent(ledger))["daily"].spent_nanos == sum(range(200))


async def test_a_batch_touches_each_counter_once(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """A hundred settlements that waited together are one transaction, with one row per counter and few steps."""
    statements: list[str] = []
    ledger._writer._connection.set_trace_callback(statements.append)
    try:
        await asyncio.gather(*(ledger.settle(record(f"r_{number}")) for number in range(100)))
        await ledger.caught_up()
    finally:
        ledger._writer._connection.set_trace_callback(None)

    commits = statements.count("COMMIT")
    assert commits <= 3  # the first may have left before the others came
    assert sum("INTO spend" in statement for statement in statements) <= 2 * commits  # five rows: four and one
    assert sum("INTO rollups" in statement for statement in statements) <= commits
    assert sum("INTO usage_records" in statement for statement in statements) <= 10
    assert rows(beside, "usage_records") == 100


async def test_a_call_does_not_wait_for_what_nobody_waits_for(
    ledger: Ledger, beside: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new hold overtakes queued settlements, but not for ever; a hold whose id its caller chose does not."""
    monkeypatch.setattr(writer, "COMPANY_S", 60)
    settled = ledger.settle(record("s_1"))
    for number in range(writer.PASSED_OVER_MAX):
        await ledger.reserve(hold(f"r_{number}"))
    overtaken = rows(beside, "usage_records")
    await ledger.reserve(hold("r_last"))
    with_the_next = rows(beside, "usage_records")
    released = ledger.release("r_last")
    await ledger.reserve(hold("r_chosen"), unique=True)

    assert (overtaken, with_the_next, settled.done(), released.done()) == (0, 1, True, True)


async def test_a_settlement_is_written_though_nothing_follows(ledger: Ledger) -> None:
    """It waits a moment for company, and then goes alone."""
    await ledger.settle(record("s_1"))

    assert ledger.queue_depth == 0


async def test_a_call_counts_in_the_window_of_its_admission(ledger: Ledger, clock: StillClock) -> None:
    """A call admitted before midnight and settled after it belongs to the day before."""
    admitted = NOON.replace(hour=23, minute=59)
    await ledger.reserve(hold("r_1", admitted_at=admitted))
    clock.instant = NOON + timedelta(days=1)
    await ledger.settle(record("r_1", timestamp=admitted))

    tallies = await ledger.tallies(clock.instant)
    assert tallies[WindowKey(DEFAULT, "daily", NOON.replace(hour=0))].spent_nanos == 900
    assert WindowKey(DEFAULT, "daily", NOON.replace(hour=0) + timedelta(days=1)) not in tallies


async def test_a_correction_is_money_but_no_request(ledger: Ledger) -> None:
    """A record that corrects another moves spend and tokens; the number of requests stays."""
    await ledger.settle(record("r_1"))
    correction = record("r_2", corrects="r_1", cost_nanos=-400, input_cost_nanos=None, usage=Usage())
    assert await ledger.append(correction, "f") == (correction, True)

    total = (await spent(ledger))["total"]
    assert (total.spent_nanos, total.request_count, total.input_tokens) == (500, 1, 20)


async def test_a_correction_needs_its_record(ledger: Ledger) -> None:
    """There is nothing to correct in a record that does not exist."""
    with pytest.raises(NotFound):
        await ledger.append(record("r_2", corrects="r_1"), "f")


async def test_an_unpriced_call_is_counted_and_costs_nothing_known(ledger: Ledger) -> None:
    """Without a price, the cost stays null in the record, and the window says that it has such usage."""
    await ledger.settle(record("r_1", cost_basis="unpriced", cost_nanos=None, input_cost_nanos=None))

    stored = await ledger.queries.record("r_1")
    assert stored is not None
    assert stored.cost_nanos is None
    assert (await spent(ledger))["total"].unpriced_count == 1


async def test_posting_twice_is_one_record(ledger: Ledger) -> None:
    """The same id and content again is the first record; another content is a conflict."""
    first, created = await ledger.append(record("r_1"), "f1")
    again, created_again = await ledger.append(record("r_1"), "f1")

    assert (created, created_again) == (True, False)
    assert again == first
    with pytest.raises(Conflict):
        await ledger.append(record("r_1", cost_nanos=1), "f2")
    assert (await spent(ledger))["total"].request_count == 1


async def test_posting_one_id_at_once_is_one_record(ledger: Ledger) -> None:
    """However many post it at the same time, one creates it."""
    answers = await asyncio.gather(*(ledger.append(record("r_1"), "f1") for _ in range(50)))

    assert sum(created for _, created in answers) == 1
    assert (await spent(ledger))["total"].request_count == 1


async def test_a_posted_record_cannot_take_the_place_of_a_call(ledger: Ledger) -> None:
    """The id of a call in flight is refused, so that its settlement is never taken for a repetition."""
    await ledger.reserve(hold("r_1"))

    with pytest.raises(Conflict):
        await ledger.append(record("r_1"), "f1")


@pytest.mark.parametrize(
    "absurd",
    [
        {"usage": Usage(input=10**13)},
        {"cost_nanos": 2 * 10**15},
        {"component": "\ud800"},
        {"timestamp": NOON.replace(year=1969)},
    ],
)
async def test_figures_no_call_can_have_are_refused(ledger: Ledger, absurd: dict[str, Any]) -> None:
    """A posted record that would spoil the ledger's sums is the caller's error."""
    with pytest.raises(InvalidRequest):
        await ledger.append(record("r_1", **absurd), "f1")


async def test_a_cancelled_reservation_leaves_no_hold(ledger: Ledger) -> None:
    """Whoever leaves while the hold is written has none afterwards, whether it was written or not."""
    tasks = [asyncio.create_task(ledger.reserve(hold(f"r_{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await ledger.caught_up()

    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 25
    assert ledger.holds_open == 25


async def test_a_cancelled_duplicate_does_not_release_the_first(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """The hold of a call in flight survives a second call with its id that is cancelled."""
    await ledger.reserve(hold("r_1"))
    task = asyncio.create_task(ledger.reserve(hold("r_1")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ledger.caught_up()
    await asyncio.sleep(0)  # whoever is told of the refusal has acted now
    await ledger.release("r_none")

    assert rows(beside, "holds") == 1


async def test_a_settlement_outlives_who_asked_for_it(ledger: Ledger) -> None:
    """Cancelling what waits for a settlement does not take the settlement back."""
    await ledger.reserve(hold("r_1"))
    done = ledger.settle(record("r_1"))
    done.cancel()
    await ledger.caught_up()

    assert (await spent(ledger))["total"].spent_nanos == 900
    assert ledger.holds_open == ledger.queue_depth == 0


async def test_open_holds_are_charged_after_a_crash(config: LedgerConfig, clock: StillClock, ledger: Ledger) -> None:
    """At the next start every open hold becomes an unconfirmed record at what was held, once."""
    await ledger.reserve(hold("r_1", task_type="chat"))
    await ledger.reserve(hold("r_2", amount_nanos=0))
    await ledger.close()  # as a crash would: nobody ended the holds

    again = await Ledger.open(config, clock)
    expired = await again.recover()

    assert [(one.record_id, one.cost_basis, one.cost_nanos, one.status) for one in expired] == [
        ("r_1", "unconfirmed", 1_000, "crashed"),
        ("r_2", "unpriced", None, "crashed"),
    ]
    assert await again.recover() == []
    assert await again.queries.record("r_1") == expired[0]
    assert expired[0].usage == Usage(input=70, output=30)
    assert (expired[0].task_type, expired[0].tags, expired[0].streamed) == ("chat", {"team": "search"}, True)
    assert again.holds_open == 0
    assert (await spent(again))["daily"].spent_nanos == 1_000
    await again.close()


async def test_nothing_is_written_after_the_end(config: LedgerConfig, clock: StillClock) -> None:
    """A closed ledger refuses; closing it again is nothing."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    await ledger.close()
    await ledger.close()

    with pytest.raises(StoreUnavailable):
        await ledger.reserve(hold("r_1"))
    with pytest.raises(StoreUnavailable):
        await ledger.settle(record("r_1"))


async def test_closing_writes_what_is_queued(config: LedgerConfig, clock: StillClock) -> None:
    """What was asked for before `close` is in the file after it, and the log is folded into the file."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    waiting = [ledger.settle(record(f"r_{number}")) for number in range(500)]
    await ledger.close()

    assert all(done.done() and done.exception() is None for done in waiting)
    again = await Ledger.open(config, clock)
    assert (await again.lists.records(RecordFilter())).total == 500
    await again.close()


async def test_caught_up_sees_what_was_written_before(ledger: Ledger) -> None:
    """After `caught_up`, a read finds every record settled before."""
    for number in range(20):
        ledger.settle(record(f"r_{number}"))
    await ledger.caught_up()

    assert (await ledger.lists.records(RecordFilter())).total == 20


async def test_a_once_key_counts_once(ledger: Ledger) -> None:
    """A second bill under the key is the first record, whichever ids they have, in one transaction or two."""
    first = record("r_1", once_key="openai:resp_1")
    again = [ledger.append(record(f"r_{number}", once_key="openai:resp_1"), "f") for number in range(2, 5)]
    kept = await asyncio.gather(ledger.append(first, "f"), *again)
    kept.append(await ledger.append(record("r_9", once_key="openai:resp_1"), "f"))

    assert [(stored.record_id, created) for stored, created in kept] == [("r_1", True)] + [("r_1", False)] * 4
    assert await ledger.billed("openai:resp_1") == first
    assert (await spent(ledger))["daily"].request_count == 1


async def test_what_is_settled_is_counted_whatever_its_key(ledger: Ledger) -> None:
    """A key that is taken is left off: no settlement is refused."""
    await ledger.append(record("r_1", once_key="k"), "f")
    await ledger.reserve(hold("r_2"))
    await ledger.settle(record("r_2", once_key="k"))

    assert (await spent(ledger))["daily"].spent_nanos == 1_800
    stored = await ledger.queries.record("r_2")
    assert stored is not None
    assert stored.once_key is None


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_deferred_hold_keeps_its_key_through_a_crash(ledger: Ledger, *, at_once: bool) -> None:
    """The record it becomes can be found by whoever learns the bill, in one transaction or two."""
    opening = asyncio.ensure_future(ledger.reserve(hold("r_1")))
    if at_once:
        await asyncio.sleep(0)
    else:
        await opening
    await ledger.defer("r_1", "openai:resp_1")
    await opening
    await ledger.recover()

    guess = await ledger.billed("openai:resp_1")
    assert guess is not None
    assert (guess.record_id, guess.cost_basis, guess.status) == ("r_1", "unconfirmed", "crashed")


async def test_deferring_what_has_ended_changes_nothing(ledger: Ledger) -> None:
    """As releasing or settling it again does not."""
    await ledger.reserve(hold("r_1"))
    await ledger.release("r_1")
    await ledger.defer("r_1", "k")

    assert ledger.holds_open == 0
    assert await ledger.billed("k") is None
