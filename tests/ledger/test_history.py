"""The past in pieces: every call once, with its corrections, and at a price that does not grow with the ledger."""

from dataclasses import replace

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.clock import iso
from penia_proxy.ledger import history
from penia_proxy.ledger.history import NEWEST_READ_MAX, backward, correcting, forward
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter
from tests.ledger.making import NOON, record
from tests.ledger.test_queries import MINUTE, plan

SPAN = RecordFilter(start=NOON, end=NOON + MINUTE)


async def test_pieces_are_every_call_once(ledger: Ledger) -> None:
    """Oldest first, also where many have the same instant; a correction comes with its call, in order of writing."""
    for number in range(7):
        await ledger.append(record(f"r_{number}", timestamp=NOON + MINUTE * (number // 4)), "")
    for number in range(3):
        await ledger.append(replace(record(f"a_{number}"), corrects="r_2", usage=Usage(), cost_nanos=number), "")
    seen: list[tuple[str, list[str], int | None]] = []
    cursor = None
    while True:
        piece = await ledger.history.piece(RecordFilter(), limit=2, cursor=cursor)
        seen += [
            (call.record.record_id, [one.record_id for one in call.corrections], call.cost_nanos)
            for call in piece.calls
        ]
        if (cursor := piece.next_cursor) is None:
            break

    assert seen == [
        (f"r_{number}", ["a_0", "a_1", "a_2"] if number == 2 else [], 903 if number == 2 else 900)
        for number in range(7)
    ]
    assert [call.record.budget_ids for call in piece.calls] == [("b_default",)]


async def test_a_call_without_a_cost_has_none(ledger: Ledger) -> None:
    """Null is not 0, until a correction says what it came to."""
    unpriced = record("r_1", cost_basis="unpriced", cost_nanos=None, input_cost_nanos=None)
    await ledger.append(unpriced, "")
    (before,) = (await ledger.history.piece(RecordFilter(), limit=9)).calls
    await ledger.append(replace(unpriced, record_id="a", corrects="r_1", cost_basis="repriced", cost_nanos=0), "")
    (after,) = (await ledger.history.piece(RecordFilter(), limit=9)).calls

    assert (before.cost_nanos, after.cost_nanos) == (None, 0)
    assert [tally.unpriced_count for tally in (await ledger.tallies(NOON)).values()] == [0] * 5


async def test_the_newest_are_found_among_so_many_at_most(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a component called last, by its other names; a kind that is too rare is not searched for."""
    monkeypatch.setattr(history, "NEWEST_READ_MAX", 4)
    await ledger.append(record("old", task_type="rare"), "")
    for number in range(6):
        await ledger.append(record(f"r_{number}", timestamp=NOON + MINUTE * number, task_type="chat"), "")
    await ledger.append(replace(record("a"), corrects="r_1", timestamp=NOON + MINUTE * 9), "")

    one = RecordFilter(components=("rhetor",))
    assert [found.record_id for found in await ledger.history.newest(one, 2)] == ["r_5", "r_4"]
    assert await ledger.history.newest(replace(one, task_types=("rare",)), 2) == []
    assert [found.record_id for found in await ledger.history.newest(RecordFilter(task_types=("rare",)), 2)] == ["old"]


@pytest.mark.parametrize(
    "asked",
    [
        RecordFilter(),
        SPAN,
        replace(SPAN, providers=("openai",), models=("gpt-4o",)),
        replace(SPAN, components=("rhetor",), models=("gpt-4o", "gpt-4o-2024-08-06")),
    ],
)
async def test_no_question_scans_the_records(ledger: Ledger, asked: RecordFilter) -> None:
    """Pieces, their corrections and the newest calls are read by an index."""
    pieces = [await plan(ledger, forward(asked, after).limit(21)) for after in (None, (iso(NOON), 5))]
    newest = await plan(ledger, backward(asked, NEWEST_READ_MAX).limit(20))
    corrections = await plan(ledger, correcting([record("r_1"), record("r_2")], asked))

    walk = "USING INDEX usage_records_newest"
    for step in (*pieces[0], *pieces[1], *newest, *corrections):
        assert not step.startswith("SCAN usage_records") or walk in step
    assert [step for step in corrections if step.startswith("SEARCH usage_records USING INDEX usage_records_corrects")]
