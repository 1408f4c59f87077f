"""Whose turn it is, without sockets: turns are counted, and what else happens between them."""

import asyncio
import logging
from itertools import pairwise

import pytest

from penia_proxy.watch.rounds import EARLY_MAX, SLICE, Rounds


class Waiting:
    """Somebody who is served."""

    def __init__(self, more: int = 0, error: Exception | None = None) -> None:
        self.turns = 0
        self.more = more
        self.error = error

    def serve(self) -> bool:
        self.turns += 1
        if self.error is not None:
            raise self.error
        self.more -= 1
        return self.more >= 0


async def soon() -> None:
    """Let everything happen that is due."""
    for _ in range(200):
        await asyncio.sleep(0)


def counted() -> tuple[Rounds, list[None]]:
    """Return rounds, and how often the next one was asked for."""
    asked: list[None] = []
    return Rounds(lambda: asked.append(None)), asked


async def test_a_few_are_served_at_once() -> None:
    """Without a round, and as often as something is there."""
    rounds, asked = counted()
    one = Waiting()
    for _ in range(3):
        rounds.call(one)
        await soon()

    assert one.turns == 3
    assert not asked


async def test_many_are_served_together() -> None:
    """Once the early turns are used up, everybody waits for the round, and has one turn in it."""
    rounds, asked = counted()
    busy, others = Waiting(), [Waiting() for _ in range(100)]
    for _ in range(EARLY_MAX):
        rounds.call(busy)
        await asyncio.sleep(0)
    await soon()
    before = busy.turns
    for _ in range(5):
        for one in (busy, *others):
            rounds.call(one)
    await soon()

    assert (busy.turns, sum(one.turns for one in others)) == (before, 0)
    assert asked
    await rounds.run()
    assert (busy.turns, [one.turns for one in others]) == (before + 1, [1] * 100)
    rounds.call(busy)
    await soon()
    assert busy.turns == before + 2


async def test_whatever_else_happens_gets_its_turn() -> None:
    """A thousand in a round are served slice by slice, and what is due meanwhile does not wait for all of them."""
    rounds, _ = counted()
    crowd = [Waiting() for _ in range(1000)]
    for one in crowd:
        rounds.later(one)
    between = []

    async def other() -> None:
        while sum(one.turns for one in crowd) < 1000:
            between.append(sum(one.turns for one in crowd))
            await asyncio.sleep(0)

    await asyncio.gather(rounds.run(), other())

    assert all(later - earlier <= SLICE for earlier, later in pairwise(between))
    assert [one.turns for one in crowd] == [1] * 1000


async def test_who_wants_more_goes_to_the_end() -> None:
    """One that catches up has its turns in the same round, after the others, and the round waits for it."""
    rounds, _ = counted()
    behind, other = Waiting(more=3), Waiting()
    rounds.later(behind)
    rounds.later(other)
    await rounds.run()

    assert (behind.turns, other.turns) == (4, 1)


async def test_one_that_fails_is_logged_and_the_next_is_served(caplog: pytest.LogCaptureFixture) -> None:
    """A defect in one turn takes nobody else's."""
    rounds, _ = counted()
    failing, other = Waiting(error=RuntimeError("broken")), Waiting()
    rounds.later(failing)
    rounds.later(other)
    with caplog.at_level(logging.ERROR):
        await rounds.run()

    assert other.turns == 1
    assert "could not be served" in caplog.text


async def test_a_round_without_anybody_is_over_at_once() -> None:
    """Nothing is waited for."""
    rounds, _ = counted()
    await rounds.run()
