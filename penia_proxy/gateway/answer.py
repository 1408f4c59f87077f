"""
Pass one answer on, read it as it passes, and book what it cost.

Its one job: from the provider's headers to the settled hold.
Rules: bytes go to the caller as they come and as they are, but for the one usage chunk we asked for. A caller that
leaves is never free and never billed for what was not made. Once an answer has begun it can only be passed on or
visibly cut, never replaced.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from penia_proxy.budget.bill import Bill
from penia_proxy.budget.engine import Verdict
from penia_proxy.budget.money import usd_text
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import Clock
from penia_proxy.errors import InvariantError, StoreUnavailable
from penia_proxy.gateway.booking import Claim, End, book
from penia_proxy.gateway.downstream import Downstream, Fields
from penia_proxy.gateway.drains import DRAIN_BYTES_MAX, Drains
from penia_proxy.gateway.growth import Growth
from penia_proxy.gateway.holding import Holding
from penia_proxy.gateway.relay import to_caller
from penia_proxy.gateway.stamp import Stamp
from penia_proxy.gateway.upstream import Answer, ReachedError, content_type_of
from penia_proxy.gateway.works import CallWorks
from penia_proxy.wire.call import AnswerHead, Call, Meter, Reading
from penia_proxy.wire.decode import Decoder, decoder_for

WHOLE_BYTES_MAX = 8 * 1024 * 1024
"""
An answer that does not stream is kept whole up to here, so that its cost can be a header; a longer one is passed on
without.
"""

T = TypeVar("T")


class Answering:
    """The answer to one metered call."""

    def __init__(
        self,
        downstream: Downstream,
        stamp: Stamp,
        clock: Clock,
        works: CallWorks,
        *,
        drains: Drains | None,
    ) -> None:
        """``drains`` None: hang up on the provider when the caller leaves."""
        self._works = works
        self._downstream = downstream
        self._stamp = stamp
        self._clock = clock
        self._drains = drains
        self._growth: Growth | None = None
        self._booked: Booked

    def admitted(self, verdict: Verdict, call: Call) -> None:
        """Take what the hold said; the call leaves now."""
        self._stamp.admitted(verdict, call.changed)
        self._stamp.sent()

    async def metered(
        self, answer: Answer, hold: Holding, call: Call, meter_of: Callable[[Call, AnswerHead], Meter]
    ) -> None:
        """
        Pass a metered call's answer on and end its hold.

        Raises ReachedError if it broke before the caller saw any of it.
        """
        self._stamp.answered()
        if not 200 <= answer.status < 300:
            # An error bills nothing (wire_formats.md §1); the money is free before its text has passed.
            await hold.release()
            await pass_through(self._downstream, answer, self._stamp)
            return
        meter = meter_of(call, head_of(answer))
        self._booked = Booked(self._works, self._stamp, hold, call, meter)
        decoder = decoder_for(answer.headers.get("Content-Encoding"))
        if meter.streams:
            self._growth = Growth(hold, call, meter)
            await self._streamed(answer, decoder, [], by_events=call.by_events and not decoder.broken)
        else:
            await self._whole(answer, decoder)

    async def _whole(self, answer: Answer, decoder: Decoder) -> None:
        kept: list[bytes] = []
        size = 0
        try:
            while chunk := await answer.chunk():
                self._seen_first_byte()
                kept.append(chunk)
                size += len(chunk)
                if size > WHOLE_BYTES_MAX:
                    await self._streamed(answer, decoder, kept, by_events=False)
                    return
                self._booked.meter.feed(decoder.decode(chunk))
        except ReachedError as failure:
            await self._booked.at(_end_of(failure))
            raise
        except asyncio.CancelledError:  # the caller left while we wait
            await self._caller_left(answer, decoder)
            raise
        body = kept[0] if len(kept) == 1 else b"".join(kept)
        is_sent = False

        def send(bill: Bill | None) -> None:
            """Send it when its cost is known; booking it takes as long again, and nobody can look for it meanwhile."""
            nonlocal is_sent
            is_sent = True
            fields = fields_of(answer, self._stamp)
            if bill is not None and bill.cost_nanos is not None:
                fields.append(("X-Penia-Cost", usd_text(bill.cost_nanos)))
            self._downstream.send(answer.status, answer.reason, fields, body)

        await self._booked.at("ok", readable=not decoder.broken, known=send)
        if not is_sent:
            send(None)
        await self._downstream.taken()

    async def _streamed(self, answer: Answer, decoder: Decoder, kept: list[bytes], *, by_events: bool) -> None:
        """Pass chunks on as they come, ``kept`` first. With ``by_events`` the meter says what is passed on, decoded."""
        fields = fields_of(answer, self._stamp)
        if by_events:
            fields = [field for field in fields if field[0].lower() != "content-encoding"]
        try:
            self._downstream.begin(answer.status, answer.reason, fields)
            if not await self._pass_on(answer, decoder, kept, by_events=by_events):
                await self._end_early(answer)
                return
            if self._growth is not None:
                await self._growth.learn()
            # Before the end is sent, so that whoever has seen the end finds the record.
            await self._booked.at("ok", readable=not decoder.broken, ended=True)
            if by_events and not decoder.whole:
                # What was passed on decoded is not all there was; the caller could not tell by our own framing.
                self._downstream.cut()
            else:
                self._downstream.end()
        except ReachedError as failure:
            await self._booked.at(_end_of(failure))
            self._downstream.cut()
        except asyncio.CancelledError:
            await self._caller_left(answer, decoder)
            raise
        except ConnectionResetError:  # and while we write
            await self._caller_left(answer, decoder)

    async def _pass_on(self, answer: Answer, decoder: Decoder, kept: list[bytes], *, by_events: bool) -> bool:
        """Return False where a budget has no room for more of the answer."""
        meter, growth = self._booked.meter, self._growth
        named = self._booked.named()
        for chunk in kept[:-1]:
            await self._downstream.write(chunk)  # read by the meter before
        for chunk in kept[-1:]:
            meter.feed(decoder.decode(chunk))
            await self._downstream.write(chunk)
        while chunk := await self._downstream.next_of(answer):
            self._seen_first_byte()
            passed = meter.feed(decoder.decode(chunk))
            if not by_events:
                passed = chunk
            if not named:
                named = self._booked.named()
            if passed:
                await self._downstream.write(passed)
            if growth is not None and growth.due:
                self._downstream.flush()
                if not await growth.covers() and not meter.reading().complete:
                    return False
        rest = meter.end()
        if by_events and rest:
            await self._downstream.write(rest)
        return True

    async def _end_early(self, answer: Answer) -> None:
        """Hang up on the provider, and end the answer as it would have at the output cap."""
        answer.close()
        growing = self._booked.meter.growing
        if self._growth is None or growing is None:
            raise InvariantError("an answer that nobody follows cannot be ended early")
        used = await self._growth.used()
        await self._booked.truncated(used)
        await self._downstream.write(growing.closing(used[1]))
        self._downstream.end()

    def _seen_first_byte(self) -> None:
        if self._booked.first_byte_at is None:
            self._booked.first_byte_at = self._clock.monotonic()

    async def _caller_left(self, answer: Answer, decoder: Decoder) -> None:
        if self._booked.is_over:  # we were cancelled as it was booked
            return
        try:
            if self._drains is not None and self._drains.room:
                await through_cancellation(self._drain(answer, decoder, self._drains))
        finally:  # a stop cancels us as well, and what has been read on until then is known
            await self._booked.at("disconnected", drained=self._drains is not None)

    async def _drain(self, answer: Answer, decoder: Decoder, drains: Drains) -> None:
        """Read on to the usage, bounded: hanging up would not stop this provider's bill."""
        size = 0
        try:
            async with drains.one():
                while chunk := await answer.chunk():
                    size += len(chunk)
                    if size > DRAIN_BYTES_MAX:
                        return
                    self._booked.meter.feed(decoder.decode(chunk))
        except (ReachedError, TimeoutError):
            return


class Booked:
    """Books one answer, once."""

    def __init__(self, works: CallWorks, stamp: Stamp, hold: Holding, call: Call, meter: Meter) -> None:
        self._works = works
        self._stamp = stamp
        self._hold = hold
        self._call = call
        self.meter = meter
        self.first_byte_at: float | None = None
        """The monotonic instant of the first byte of the answer's body."""

    @property
    def _ttft_ms(self) -> float | None:
        return self._stamp.since_start_ms(self.first_byte_at)

    @property
    def is_over(self) -> bool:
        """Whether the answer has been booked, or its bill is waited for."""
        return not self._hold.was_sent

    def named(self) -> bool:
        """Keep the name of what is being made, once it has been said; return whether there is nothing to wait for."""
        if not self._call.has_name:
            return True
        key = self._works.key(self.meter.reading())
        if key is not None:
            self._hold.name(key)
        return key is not None

    async def truncated(self, used: tuple[str | None, Usage]) -> None:
        """Settle what was used of an answer that we ended."""
        claimed = await self._works.claim(self.meter.reading(), self._hold)
        if claimed.is_booked:
            await self._hold.release()
            return
        await self._hold.settle(
            self._hold.bill((used,), "partial"),
            status="truncated",
            ttft_ms=self._ttft_ms,
            once_key=claimed.key,
        )

    async def at(
        self,
        end: End,
        *,
        readable: bool = True,
        ended: bool = False,
        drained: bool = False,
        known: Callable[[Bill], None] = lambda _: None,
    ) -> None:
        """
        Settle by what the meter has read; ``known`` is told the bill first, if there is one.

        ``readable`` False: the coding could not be undone, so that the meter saw nothing of what was there.
        ``ended``: the meter's end has been asked for.
        """
        if not ended:
            self.meter.end()
        reading = self.meter.reading()
        works = self._works
        works.note(reading)
        if await works.waits(reading, self._hold):
            return

        async def claim(bill: Bill) -> Claim:
            claimed = await works.claim(reading, self._hold)
            if not claimed.is_booked:
                known(bill)
            return claimed

        metadata: dict[str, Any] = {"drained": True} if drained else {}
        booking = book(
            self._hold,
            self._call,
            reading,
            end,
            is_stream=self.meter.streams and readable,
            ttft_ms=self._ttft_ms,
            metadata=metadata,
            claim=claim,
        )
        # A complete reading is booked without waiting; counting the text of a cut one takes a moment, and so does
        # another answer that is just stating the same bill.
        at_once = reading.complete and not works.is_booking(reading)
        await (booking if at_once else through_cancellation(booking))


async def through_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Finish ``work`` whoever cancels us, then be cancelled. For endings, which are bounded in time."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()


def head_of(answer: Answer) -> AnswerHead:
    """Return what dialects are shown of an answer."""
    return AnswerHead(content_type_of(answer.headers), answer.headers)


def fields_of(answer: Answer, stamp: Stamp) -> Fields:
    """Return the provider's headers and ours."""
    fields = to_caller(answer.headers)
    stamp.put(fields, answer.headers)
    return fields


class Copy:
    """Reads a copy of an answer that costs nothing itself, for what it says of other work."""

    def __init__(self, meter: Meter, coding: str | None, told: Callable[[Reading], Awaitable[None]]) -> None:
        self._meter = meter
        self._decoder = decoder_for(coding)
        self._told = told

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._meter.feed(self._decoder.decode(chunk))

    async def end(self) -> None:
        """Say what has been read."""
        self._meter.end()
        await self._told(self._meter.reading())


async def pass_through(downstream: Downstream, answer: Answer, stamp: Stamp, copy: Copy | None = None) -> None:
    """Pass an unmetered answer on as it comes; what its ``copy`` says is booked before the caller sees its end."""
    length = answer.headers.get("Content-Length")
    try:
        downstream.begin(answer.status, answer.reason, fields_of(answer, stamp), length)
        kept = b""
        while chunk := await downstream.next_of(answer):
            if copy is None:
                await downstream.write(chunk)
                continue
            copy.feed(chunk)
            if length is None:
                await downstream.write(chunk)
            else:  # its last byte is its end
                if kept:
                    await downstream.write(kept)
                kept = chunk
        if copy is not None:
            await through_cancellation(copy.end())
        if kept:
            await downstream.write(kept)
        downstream.end()
    except ConnectionResetError:
        pass  # the caller left: nobody is billed for this answer
    except (ReachedError, StoreUnavailable):  # what cannot be booked now is asked for again
        downstream.cut()


def _end_of(failure: ReachedError) -> End:
    return "timeout" if failure.error.status == 504 else "cut"
