"""
Count once what several answers state.

Its one job: the work that providers do under names of their own: holds that wait for a bill to come later, bills that
have come, and what answers said of things that later requests name.
Rules: a bill is booked by whoever claims its key first, in one step; whoever comes while that is being written waits.
A hold is let go in the step that ends it: what fails before leaves it where it was. What waits ends at its deadline, at
what was held; what was said of a work before its hold could wait is not said again.
Keys of callers are kept in memory, for polls, for as long as a hold waits, and nowhere else.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from penia_proxy.budget.bill import Bill
from penia_proxy.budget.record import UsageRecord
from penia_proxy.errors import PeniaError
from penia_proxy.gateway.booking import Claim, stated
from penia_proxy.gateway.charging import Payer, charge, correct, give_way
from penia_proxy.gateway.holding import Books, Holding
from penia_proxy.gateway.naming import Naming
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

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class _Void:
    """The end of a work that states no bill."""

    at: float
    """The monotonic instant at which it was heard of."""
    failed: bool

    async def end(self, hold: Holding, key: str) -> None:
        """End the hold of the work: what failed is billed nothing, and of anything else nobody says how much."""
        if self.failed:
            await hold.release()
        else:
            await hold.settle_unconfirmed("ok", once_key=key)


class Works:
    """All work of one gateway that has a name at its provider."""

    def __init__(self, books: Books, naming: Naming) -> None:
        self._books = books
        self.key = naming.key
        """Of a provider and a name."""
        self._keys = naming.keys
        self._waiting: dict[str, _Waiting] = {}
        self._billed: OrderedDict[str, float] = OrderedDict()
        """When another answer stated each bill, on the monotonic clock; 0 where its call's own did."""
        self._void: OrderedDict[str, _Void] = OrderedDict()
        """Works that ended without a bill before a hold waited for one."""
        self._booking: dict[str, asyncio.Future[None]] = {}
        """Bills that are being booked by an answer that stated them."""
        self._noted: OrderedDict[str, Noted] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Holds whose bills are awaited."""
        return len(self._waiting)

    def note(self, provider: str, noted: Mapping[str, Noted]) -> None:
        """Remember what an answer said."""
        for name, said in noted.items():
            _keep(self._noted, self.key(provider, name), said, NOTED_MAX)

    def noted(self, provider: str) -> Callable[[str], Noted | None]:
        """Return where to look up what answers of a provider said."""
        return lambda name: self._noted.get(self.key(provider, name))

    def is_booking(self, provider: str, work: Work) -> bool:
        """Whether another answer has stated the bill, and it is not written yet."""
        return self.key(provider, work.name) in self._booking

    async def claim(self, provider: str, work: Work, hold: Holding, *, exact: bool) -> Claim:
        """
        Say how the bill of a call that ends now is to be booked; nothing may be awaited between this and that.

        Waits only for a bill of the same name that is being written. One that is not ``exact`` leaves its key to be
        claimed by the answer that states it.
        """
        key = self.key(provider, work.name)
        while (other := self._booking.get(key)) is not None:
            await asyncio.wait({other})
        if self._told_since(key, hold):
            return Claim(is_booked=True)
        if exact and key in self._billed:
            return Claim()
        if exact:
            self._remember(0.0, key)
        return Claim(key)

    async def wait(self, provider: str, work: Work, hold: Holding, payer: Payer, ask: Ask | None) -> None:
        """Keep the hold until a later answer states the bill; ``ask`` gets that answer where nobody else does."""
        key = self.key(provider, work.name)
        void = self._void.get(key)
        if self._told_since(key, hold):
            await hold.release()
        elif void is not None and void.at > hold.started:
            await void.end(hold, key)
        elif key in self._waiting:  # a provider that names two works alike: the first is still owed
            await hold.settle_unconfirmed("pending")
        else:
            hold.defer(key)
            deadline = asyncio.get_running_loop().call_later(work.due_s, self._give_up, key)
            waiting = self._waiting[key] = _Waiting(hold, deadline)
            if ask is not None and len(self._waiting) <= POLLS_MAX:
                waiting.poll = asyncio.ensure_future(self._poll(key, payer, ask))
            # Nobody may learn a name that a crash would make us forget.
            await self._books.ledger.caught_up()

    async def told(self, payer: Payer, reading: Reading) -> None:
        """Book what an answer says of work that was asked for before. Raises StoreUnavailable."""
        for name, said in reading.noted.items():
            if said.work and self._noted.get(self.key(payer.provider, name)) != said:
                await self._named(payer, name, said.work)
        self.note(payer.provider, reading.noted)
        work = reading.work
        if work is None:
            return
        waits_as = self.key(payer.provider, work.waits_as or work.name)
        if reading.complete:
            await self._billed_now(payer, work, waits_as, reading)
        elif reading.finished:
            void = _Void(self._books.clock.monotonic(), failed=reading.failed)
            if (hold := self._taken(waits_as)) is not None:
                await void.end(hold, waits_as)
            else:
                _keep(self._void, waits_as, void, NOTED_MAX)

    async def close(self) -> None:
        """Settle what waits at what it holds: nobody will ask for its bill in this process any more."""
        for key in list(self._waiting):
            if (hold := self._taken(key)) is not None:
                await hold.settle_unconfirmed("pending", once_key=key)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _named(self, payer: Payer, file: str, work: str) -> None:
        """
        Keep whose results a file has, so that a restart does not forget it.

        What a file without a known owner was billed is a record of its own. Now that the owner is known, what is held
        or was guessed for it gives way to that.
        """
        key, waits_as = self.key(payer.provider, file), self.key(payer.provider, work)
        ledger = self._books.ledger
        await ledger.save_name(key, waits_as)
        async with self._alone(key):
            billed = await self._recorded(key)
            if billed is None:
                return
            self._remember(self._books.clock.monotonic(), waits_as)
            if (hold := self._taken(waits_as)) is not None:
                await hold.release()
            guess = await self._recorded(waits_as)  # also of a hold that has just been given up
            if guess is not None and guess.is_guess and billed.corrects != guess.record_id:
                await give_way(self._books, guess, billed)

    async def _billed_now(self, payer: Payer, work: Work, waits_as: str, reading: Reading) -> None:
        key = self.key(payer.provider, work.name)
        async with self._alone(key):
            if waits_as == key and key not in self._waiting and key not in self._billed:
                waits_as = await self._owner_of(key) or key
            waiting = self._waiting.get(waits_as)
            if waiting is not None and not self._told_since(key, waiting.hold):
                bill = await _priced(lambda: waiting.hold.bill(reading.parts, "reported"), reading)
                if self._waiting.get(waits_as) is waiting:  # nobody has ended it while it was priced
                    self._taken(waits_as)
                    once_key = None if key in self._billed else key
                    self._remember(self._books.clock.monotonic(), key, waits_as)
                    await waiting.hold.settle(bill, status="error" if reading.failed else "ok", once_key=once_key)
                    return
            if key not in self._billed:
                await self._charge(payer, key, waits_as, reading)
                self._remember(self._books.clock.monotonic(), key, waits_as)
            if (late := self._taken(waits_as)) is not None:
                await late.release()

    async def _charge(self, payer: Payer, key: str, waits_as: str, reading: Reading) -> None:
        earlier = await self._recorded(key)
        if earlier is None and waits_as != key:
            earlier = await self._recorded(waits_as)
        asked = reading.model or (earlier.model if earlier is not None else "")
        bill = await _priced(lambda: payer.bill(reading.parts, asked), reading)
        if earlier is None:
            earlier = await charge(self._books, payer, bill, once_key=key)
        if earlier is not None and earlier.is_guess:
            await correct(self._books, earlier, bill, key)

    async def _recorded(self, key: str) -> UsageRecord | None:
        """Return the record that has the bill of a key, or of what was the key before."""
        for one in self._keys(key):
            if (found := await self._books.ledger.billed(one)) is not None:
                return found
        return None

    async def _owner_of(self, key: str) -> str | None:
        """Return whose bill has this other name; what was its key before is looked for where that is."""
        for one in self._keys(key):
            if (found := await self._books.ledger.queries.once_key_of(one)) is not None:
                return found
        return None

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """Let one answer at a time book a bill."""
        while (other := self._booking.get(key)) is not None:
            await asyncio.wait({other})
        done = self._booking[key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._booking[key]
            done.set_result(None)

    def _told_since(self, key: str, hold: Holding) -> bool:
        """
        Whether another answer has stated the bill since the hold's call came, and it has been booked.

        One that did before was about other work of the same name, which a provider should not have.
        """
        return self._billed.get(key, 0.0) > hold.started

    def _remember(self, at: float, *keys: str) -> None:
        for key in keys:
            _keep(self._billed, key, at, BILLED_MAX)

    def _taken(self, key: str) -> Holding | None:
        """Return the hold that waits under a key, for it to be ended in this step."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return None
        waiting.stop()
        return waiting.hold

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
        if (hold := self._taken(key)) is None:
            return
        log.warning("the bill of a call did not come in time; it is booked at what was held")
        task = asyncio.ensure_future(hold.settle_unconfirmed("pending", once_key=key))
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

    async def waits(self, reading: Reading, hold: Holding) -> bool:
        """Keep the hold beyond this answer where its bill comes with a later one; return whether that is so."""
        work = reading.work
        if work is None or not work.due_s or reading.complete or reading.finished or reading.failed:
            return False
        ask = self._asking(work.poll) if work.poll else None
        await self._works.wait(self._payer.provider, work, hold, self._payer, ask)
        return True

    def is_booking(self, reading: Reading) -> bool:
        """Whether `claim` would have to wait."""
        return reading.work is not None and self._works.is_booking(self._payer.provider, reading.work)

    async def claim(self, reading: Reading, hold: Holding) -> Claim:
        """Say how the bill is to be booked: see `Works.claim`."""
        if reading.work is None:
            return Claim()
        return await self._works.claim(self._payer.provider, reading.work, hold, exact=reading.complete)

    def key(self, reading: Reading) -> str | None:
        """Return the once-key of a bill without a hold, which the ledger has once."""
        return None if reading.work is None else self._works.key(self._payer.provider, reading.work.name)


def _keep(kept: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


async def _priced(price: Callable[[], Bill], reading: Reading) -> Bill:
    """Return the bill of a reading; that of a batch's thousands of answers is reckoned beside the event loop."""
    bill = await asyncio.to_thread(price) if len(reading.parts) > PARTS_INLINE_MAX else price()
    return stated(bill, reading.cost_usd)
