"""
Count once what several answers state.

Its one job: the work that providers do under names of their own: holds that wait for a bill to come later, bills that
have come, and what answers said of things that later requests name.
Rules: a bill is booked by whoever claims its key first, in one step. What waits ends at its deadline, at what was held.
Keys of callers are kept in memory, for polls, for as long as a hold waits, and nowhere else.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from penia_proxy.budget.bill import Bill
from penia_proxy.errors import PeniaError
from penia_proxy.gateway.booking import stated
from penia_proxy.gateway.charging import Payer, charge, correct
from penia_proxy.gateway.holding import Books, Holding
from penia_proxy.gateway.upstream import ReachedError
from penia_proxy.wire.call import Noted, Reading, Work

log = logging.getLogger(__name__)

BILLED_MAX = 100_000
"""Keys of booked bills that are remembered; of an older one the ledger knows."""

NOTED_MAX = 10_000

PARTS_INLINE_MAX = 256
"""Answers of one bill that are priced at once, at about 10 µs each."""

POLLS_MAX = 1_000
"""Works polled at a time; what waits beyond that is settled when its caller asks, or at its deadline."""

POLL_S_MIN = 2.0
POLL_S_MAX = 60.0
POLL_GROWTH = 1.5

Ask = Callable[[], Awaitable[Reading]]


@dataclass(slots=True)
class _Waiting:
    """A hold whose bill comes later."""

    hold: Holding
    deadline: asyncio.TimerHandle
    poll: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Ask no more, and forget the deadline."""
        self.deadline.cancel()
        if self.poll is not None and self.poll is not asyncio.current_task():
            self.poll.cancel()


class Works:
    """All work of one gateway that has a name at its provider."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._waiting: dict[str, _Waiting] = {}
        self._billed: OrderedDict[str, float] = OrderedDict()
        """When another answer stated each bill, on the monotonic clock; 0 where its call's own did."""
        self._noted: OrderedDict[str, Noted] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Holds whose bills are awaited."""
        return len(self._waiting)

    def note(self, provider: str, noted: Mapping[str, Noted]) -> None:
        """Remember what an answer said."""
        for name, said in noted.items():
            self._noted[_key(provider, name)] = said
            self._noted.move_to_end(_key(provider, name))
            if len(self._noted) > NOTED_MAX:
                self._noted.popitem(last=False)

    def noted(self, provider: str) -> Callable[[str], Noted | None]:
        """Return where to look up what answers of a provider said."""
        return lambda name: self._noted.get(_key(provider, name))

    def claim(self, provider: str, work: Work, at: float = 0.0) -> str | None:
        """Return the key of a bill that is to be booked now, None if it has been."""
        key = _key(provider, work.name)
        if key in self._billed:
            return None
        self._billed[key] = at
        if len(self._billed) > BILLED_MAX:
            self._billed.popitem(last=False)
        return key

    def told_since(self, provider: str, work: Work, instant: float) -> bool:
        """Whether another answer has stated the bill after a monotonic instant."""
        return self._billed.get(_key(provider, work.name), 0.0) > instant

    def wait(self, provider: str, work: Work, hold: Holding, payer: Payer, ask: Ask | None) -> None:
        """Keep the hold until a later answer states the bill; ``ask`` gets that answer where nobody else does."""
        key = _key(provider, work.name)
        hold.defer(key)
        if key in self._waiting:  # a provider that names two works alike: the first is still owed
            self._end(hold.settle_unconfirmed("pending"))
            return
        deadline = asyncio.get_running_loop().call_later(work.due_s, self._give_up, key)
        waiting = self._waiting[key] = _Waiting(hold, deadline)
        if ask is not None and len(self._waiting) <= POLLS_MAX:
            waiting.poll = asyncio.ensure_future(self._poll(key, payer, ask))

    async def told(self, payer: Payer, reading: Reading) -> None:
        """Book what an answer says of work that was asked for before. Raises StoreUnavailable."""
        self.note(payer.provider, reading.noted)
        work = reading.work
        if work is None:
            return
        waits_as = _key(payer.provider, work.waits_as or work.name)
        if reading.complete:
            await self._billed_now(payer, work, waits_as, reading)
        elif reading.finished and (waiting := self._waiting.pop(waits_as, None)) is not None:
            waiting.stop()
            if reading.failed:
                await waiting.hold.release()
            else:
                await waiting.hold.settle_unconfirmed("ok", once_key=waits_as)

    async def close(self) -> None:
        """Settle what waits at what it holds: nobody will ask for its bill in this process any more."""
        for key, waiting in list(self._waiting.items()):
            del self._waiting[key]
            waiting.stop()
            await waiting.hold.settle_unconfirmed("pending", once_key=key)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _billed_now(self, payer: Payer, work: Work, waits_as: str, reading: Reading) -> None:
        waiting = self._waiting.pop(waits_as, None)
        key = self.claim(payer.provider, work, self._books.clock.monotonic())
        if waiting is not None:
            waiting.stop()
            if key is None:
                await waiting.hold.release()
                return
            bill = await _priced(lambda: waiting.hold.bill(reading.parts, "reported"), reading)
            await waiting.hold.settle(bill, status="error" if reading.failed else "ok", once_key=key)
        elif key is not None:
            try:
                await self._charge(payer, key, waits_as, reading)
            except BaseException:
                del self._billed[key]  # the next answer that states it is the first
                raise

    async def _charge(self, payer: Payer, key: str, waits_as: str, reading: Reading) -> None:
        earlier = await self._books.ledger.billed(key)
        if earlier is None and waits_as != key:
            earlier = await self._books.ledger.billed(waits_as)
        bill = await _priced(lambda: payer.bill(reading.parts), reading)
        if earlier is None:
            await charge(self._books, payer, bill, once_key=key)
        elif earlier.is_guess:
            await correct(self._books, earlier, bill, key)

    async def _poll(self, key: str, payer: Payer, ask: Ask) -> None:
        pause = POLL_S_MIN
        while True:
            await asyncio.sleep(pause)
            if key not in self._waiting:
                return
            try:
                await self.told(payer, await ask())
            except (ReachedError, PeniaError):
                log.info("a provider could not be asked for the bill of a call; it is asked again")
            pause = min(pause * POLL_GROWTH, POLL_S_MAX)

    def _give_up(self, key: str) -> None:
        waiting = self._waiting.pop(key)
        waiting.stop()
        log.warning("the bill of a call did not come in time; it is booked at what was held")
        self._end(waiting.hold.settle_unconfirmed("pending", once_key=key))

    def _end(self, ending: Awaitable[None]) -> None:
        task = asyncio.ensure_future(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class CallWorks:
    """What the answer to one call may say of work with a name."""

    def __init__(self, works: Works, payer: Payer, asking: Callable[[str], Ask]) -> None:
        """``asking`` returns how to get the answer of a path of the provider."""
        self._works = works
        self._payer = payer
        self._asking = asking

    def note(self, reading: Reading) -> None:
        """Remember what later requests will name."""
        self._works.note(self._payer.provider, reading.noted)

    def waits(self, reading: Reading, hold: Holding) -> bool:
        """Keep the hold beyond this answer where its bill comes with a later one; return whether it does."""
        work = reading.work
        if work is None or not work.due_s or reading.complete or reading.finished or reading.failed:
            return False
        ask = self._asking(work.poll) if work.poll else None
        self._works.wait(self._payer.provider, work, hold, self._payer, ask)
        return True

    def told_since(self, reading: Reading, instant: float) -> bool:
        """
        Whether another answer has stated this bill since a monotonic instant: that of the call.

        One that did before was about other work of the same name, which a provider should not have.
        """
        work = reading.work
        return work is not None and reading.complete and self._works.told_since(self._payer.provider, work, instant)

    def claim(self, reading: Reading) -> str | None:
        """
        Return the once-key of the record to be; None where there is none, or its exact bill has been booked.

        A bill that is a guess leaves its key to be claimed by the answer that states it.
        """
        work = reading.work
        if work is None:
            return None
        return (
            self._works.claim(self._payer.provider, work) if reading.complete else _key(self._payer.provider, work.name)
        )


async def _priced(price: Callable[[], Bill], reading: Reading) -> Bill:
    """Return the bill of a reading; that of a batch's thousands of answers is reckoned beside the event loop."""
    bill = await asyncio.to_thread(price) if len(reading.parts) > PARTS_INLINE_MAX else price()
    return stated(bill, reading.cost_usd)


def _key(provider: str, name: str) -> str:
    return f"{provider}:{name}"
