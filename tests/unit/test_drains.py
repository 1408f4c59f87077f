"""Answers that are read on without their callers end with the process."""

import asyncio

import pytest

from penia_proxy.gateway.drains import DRAINS_MAX, Drains


async def test_the_end_ends_those_that_run_and_lets_none_begin() -> None:
    """At once, not when their time is up."""
    drains = Drains()
    begun = asyncio.Event()

    async def one() -> None:
        async with drains.one():
            begun.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(one())
    await begun.wait()
    assert drains.room
    drains.end()

    with pytest.raises(TimeoutError):
        await running
    assert not drains.room


async def test_there_is_room_for_so_many() -> None:
    """A further one is not read on; one that has ended makes room."""
    drains = Drains()
    limits = [drains.one() for _ in range(DRAINS_MAX)]
    for limit in limits:
        assert drains.room
        await limit.__aenter__()
    assert not drains.room
    for limit in limits:
        await limit.__aexit__(None, None, None)
    assert drains.room
