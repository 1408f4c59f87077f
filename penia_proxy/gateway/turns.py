"""
Hold the turns of one session, and end each once.

Its one job: the open turns of a session with their holds, as an async context: whatever happens inside, leaving it ends
every one of them.
Rules: a turn that never began is released; one that did is booked by what passed. What was billed without a hold is
booked without one; where the ledger cannot write, it is tried again until the session ends.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from penia_proxy.budget.bill import Bill
from penia_proxy.budget.engine import Verdict
from penia_proxy.budget.usage import CostBasis, Usage
from penia_proxy.errors import StoreUnavailable
from penia_proxy.gateway.answer import through_cancellation
from penia_proxy.gateway.booking import Claim, End, book, passed_tokens, stated
from penia_proxy.gateway.caller import Caller
from penia_proxy.gateway.charging import Payer, charge
from penia_proxy.gateway.growth import TurnGrowth
from penia_proxy.gateway.holding import Books, Held, Holding
from penia_proxy.gateway.works import CallWorks
from penia_proxy.ids import new_id
from penia_proxy.wire.call import Call
from penia_proxy.wire.session import Aside, Heard, Turn

log = logging.getLogger(__name__)

OWED_MAX = 1_000
"""Bills of one session that wait for a ledger that cannot write."""


@dataclass(slots=True)
class _Open:
    hold: Holding
    ending: AsyncExitStack
    growth: TurnGrowth
    began: float | None = None
    """The monotonic instant at which its provider may have begun it."""
    named: bool = False
    """Whether the ledger knows under which key other answers state its bill."""
    cut: bool = False
    """Whether its provider has been told to end it."""


class Turns:
    """The turns of one session. The caller's request id is the session's; each turn has one of its own."""

    def __init__(
        self, books: Books, payer: Payer, works: CallWorks, held: Callable[[Call, Caller, float], Held]
    ) -> None:
        self._books = books
        self._payer = payer
        self._works = works
        self._held = held
        self._open: dict[Turn, _Open] = {}
        self._unheld: list[Turn] = []
        self._owed: list[Callable[[], Awaitable[object]]] = []
        self.idle = asyncio.Event()
        self.idle.set()
        """Set while the provider is at work on nothing."""
        self.ended_by: End = "disconnected"
        """How what is open at the end of the session ends."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await through_cancellation(self.close())

    @property
    def session_id(self) -> str:
        """The request id of the session."""
        return self._payer.caller.request_id

    async def hold(self, turn: Turn, *, unasked: bool = False) -> Verdict:
        """
        Hold a turn; ``unasked``: it may have begun already, and is booked even where it cannot be held.

        Raises as entering a `Holding`.
        """
        hold = Holding(self._books, self._held(turn.call, self._own_caller(), self._books.clock.monotonic()))
        ending = AsyncExitStack()
        try:
            await ending.enter_async_context(hold)
        except BaseException:
            if unasked:
                self.unheld(turn)
            raise
        self._open[turn] = _Open(hold, ending, TurnGrowth(hold, turn))
        return hold.verdict

    def unheld(self, turn: Turn | None) -> None:
        """Take a turn that may have begun by itself, and for which nothing is held."""
        if turn is not None and turn.begun:
            self._unheld.append(turn)

    def capped(self, turn: Turn, frame: bytes) -> bytes:
        """Return the frame as it is passed on: with an output cap where a budget has room for no more."""
        cap = self._open[turn].hold.output_cap
        return frame if cap is None or turn.call.capped is None else turn.call.capped(cap)

    def begin(self) -> None:
        """Say of every turn that has begun since that its provider may bill it, and under which name."""
        for turn, held in self._open.items():
            if not turn.begun:
                held.began = None  # its provider refused to begin it
            elif held.began is None:
                held.began = self._books.clock.monotonic()
                held.hold.sent(began=held.began)
            if turn.call.has_name and not held.named and (key := self._works.key(turn.reading())) is not None:
                held.hold.name(key)
                held.named = True
        self._note_idle()

    @property
    def due(self) -> bool:
        """Whether it is time to look at what a turn has come to."""
        return any(held.growth.due for held in self._open.values())

    async def cuts(self, cancelling: Callable[[Turn], bytes | None]) -> list[bytes]:
        """
        Hold what the turns have come to; return the frames that end those for which a budget has no room.

        What cannot be ended goes on, and is booked in full.
        """
        frames = []
        for turn, held in list(self._open.items()):
            if not held.growth.due or await held.growth.covers():
                continue
            frame = cancelling(turn) if turn.call.cuttable else None
            if frame is not None:
                held.cut = True
                frames.append(frame)
            if frame is not None or not turn.call.cuttable:
                held.growth.stop()
        return frames

    async def book(self, heard: Heard) -> None:
        """Book what a frame ends, and what was billed beside it."""
        for turn in heard.ended:
            await self.end(turn, "ok")
        for aside in heard.asides:
            await self.aside(aside)

    async def end(self, turn: Turn, end: End) -> None:
        """Book a turn, or release it if it never began."""
        self.begin()
        held = self._open.pop(turn, None)
        reading = turn.reading()
        if held is None:
            self._unheld = [unheld for unheld in self._unheld if unheld is not turn]
            await self._charge(await self._unheld_bill(turn), self._works.key(reading))
            return
        self._note_idle()
        async with held.ending:
            if end == "ok" and not held.cut:
                await held.growth.learn()
            self._works.note(reading)
            if held.began is None:
                await held.hold.release()
                return

            async def claim(_bill: Bill) -> Claim:
                return await self._works.claim(reading, held.hold)

            ended = "truncated" if held.cut else end
            await book(held.hold, turn.call, reading, ended, is_stream=True, metadata=self._said(), claim=claim)

    async def aside(self, aside: Aside) -> None:
        """Book what another model billed beside the turns."""
        bill = self._payer.bill(((aside.model, aside.usage),), basis="reported" if aside.reported else "estimated")
        await self._charge(bill, None if aside.key is None else f"{self._payer.provider}:{aside.key}")

    async def close(self) -> None:
        """End everything that is open."""
        for turn in list(self._open):
            await self.end(turn, self.ended_by)
        while self._unheld:
            turn = self._unheld.pop()
            await self._charge(await self._unheld_bill(turn), self._works.key(turn.reading()))
        await self._pay()
        if self._owed:
            log.error("%d bills of a session could not be written", len(self._owed))

    def _note_idle(self) -> None:
        if any(turn.begun for turn in self._open):
            self.idle.clear()
        else:
            self.idle.set()

    async def _unheld_bill(self, turn: Turn) -> Bill:
        reading = turn.reading()
        parts = reading.parts or ((reading.model, Usage()),)
        if not reading.complete:
            model, usage = parts[0]
            output = await passed_tokens(turn.call, reading, model or turn.call.model, whole=reading.finished)
            parts = ((model, replace(usage, output=max(usage.output, output))), *parts[1:])
        basis: CostBasis = "reported" if reading.complete else "partial"
        return stated(self._payer.bill(parts, turn.call.model, basis), reading.cost_usd)

    def _said(self) -> dict[str, Any]:
        return {"session": self.session_id}

    async def _charge(self, bill: Bill, once_key: str | None) -> None:
        if len(self._owed) < OWED_MAX:
            own = replace(self._payer, caller=self._own_caller())
            self._owed.append(partial(charge, self._books, own, bill, once_key=once_key, metadata=self._said()))
        await self._pay()

    def _own_caller(self) -> Caller:
        """Return the caller with a request id that no other turn has."""
        return replace(self._payer.caller, request_id=new_id("r"), chose_id=False)

    async def _pay(self) -> None:
        """Book what is owed, oldest first, as far as the ledger lets us."""
        while self._owed:
            try:
                await self._owed[0]()
            except StoreUnavailable:
                return
            self._owed.pop(0)
