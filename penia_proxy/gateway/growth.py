"""
Let what is held grow with a running answer.

Its one job: to know, as a stream or a session's turn passes, whether what it has cost is held, to hold more in steps,
and to say when a budget that truncates has no room for the next one.
Rules: counting is done a step at a time and never per chunk: no tokenizer makes more tokens than bytes, so nothing is
looked at before as many bytes have passed as tokens are held. What is on its way when a stream is cut is held as well.
A turn is looked at once when it begins, too: what it reads was not all said when it was held.
"""

import math
from dataclasses import replace
from typing import Protocol

from penia_proxy.budget.estimate import STEP_TOKENS
from penia_proxy.budget.output_ratio import Written
from penia_proxy.budget.usage import Usage
from penia_proxy.gateway.counting import tokens_of
from penia_proxy.gateway.holding import Holding
from penia_proxy.wire.call import Call, Reading, Running
from penia_proxy.wire.session import Turn

IN_FLIGHT_TOKENS = 4
"""Made by the provider between the last bytes that came and its noticing that we hung up."""

WORD_MAX = 256
"""Characters without a space that are taken for one word: some scripts have none."""

NEVER = 2**63
"""More bytes than will pass."""

Part = tuple[str | None, Usage]


class Followed(Protocol):
    """What is read of an answer as it passes."""

    @property
    def growing(self) -> Running | None:
        """The answer, where it can be followed."""
        ...

    def reading(self) -> Reading:
        """Return what has been read so far."""
        ...


class Growth:
    """One running stream and its hold."""

    def __init__(self, hold: Holding, call: Call, meter: Followed) -> None:
        self._hold = hold
        self._call = call
        self._meter = meter
        self._input: Part | None = None
        self._counted = 0
        """Tokens of the words that are whole."""
        self._tail = ""
        self._tail_tokens = 0
        self._output_tokens = 0
        """What has passed, in the provider's tokens."""
        self._pieces = 0
        self._largest_bytes = 0
        """Of what came at once."""
        # Where a budget had less room than was asked for, the first bytes matter already.
        self._next_bytes = 0 if hold.truncates else max(hold.estimate.output_tokens, STEP_TOKENS)

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        growing = self._meter.growing
        return growing is not None and growing.passed.bytes > self._next_bytes

    async def covers(self) -> bool:
        """Hold what has passed and the next step; return False where a budget that truncates has no room for it."""
        growing = self._meter.growing
        held = self._hold.growing_nanos
        if growing is None or held is None:
            self._next_bytes = NEVER
            return True
        await self._count()
        needed, next_step = await self._cost(IN_FLIGHT_TOKENS), await self._cost(IN_FLIGHT_TOKENS + STEP_TOKENS)
        if needed is None or next_step is None:
            self._next_bytes = NEVER
            return True
        if next_step == needed:  # more of it costs nothing, and hanging up would save nothing
            await self._hold.extend(max(held, needed))
            self._next_bytes = NEVER
            return True
        each = -(-(next_step - needed) // STEP_TOKENS)
        # What comes next comes at once, and is billed before it can be looked at.
        next_tokens = max(1, self._at_once)
        steps = max(STEP_TOKENS, next_tokens, self._made // 4)
        while held < needed + each * next_tokens:
            if await self._hold.extend(needed + each * steps):
                held = needed + each * steps
            elif steps == next_tokens:
                return False
            else:
                steps = max(steps // 2, next_tokens)
        self._next_bytes = self._passed + (held - needed) // each - next_tokens
        return True

    def stop(self) -> None:
        """Look no more."""
        self._next_bytes = NEVER

    async def used(self) -> Part:
        """Return what a stream that is cut here has used: what passed and what was on its way."""
        await self._count()
        model, usage = await self._known()
        return model, replace(usage, output=max(self._output_tokens + IN_FLIGHT_TOKENS, usage.output))

    async def learn(self) -> None:
        """Take the count of a whole answer, to know better what the next one comes to while it runs."""
        reading = self._meter.reading()
        if self._hold.truncates and reading.complete and reading.parts:
            await self._count()
            self._hold.learn_output(self._written, reported=reading.parts[0][1].output)

    async def _cost(self, more: int) -> int | None:
        """Return what has passed costs, with so many tokens more."""
        model, usage = await self._known()
        used = self._with(replace(usage, output=max(self._output_tokens, usage.output)), more)
        return self._hold.bill(((model, used),), "partial").cost_nanos

    def _with(self, usage: Usage, more: int) -> Usage:
        return replace(usage, output=usage.output + more)

    @property
    def _passed(self) -> int:
        """What has passed: no less than its tokens."""
        growing = self._meter.growing
        return 0 if growing is None else growing.passed.bytes

    @property
    def _made(self) -> int:
        """The tokens that have passed."""
        return self._output_tokens + IN_FLIGHT_TOKENS

    @property
    def _at_once(self) -> int:
        """The most tokens that have come at once."""
        growing = self._meter.growing
        return -(-self._largest_bytes * self._made // growing.passed.bytes) if growing and growing.passed.bytes else 0

    async def _known(self) -> Part:
        """Return the input, as the provider has stated it or as we count it."""
        if self._input is None:
            reading = self._meter.reading()
            if reading.parts:
                model, usage = reading.parts[0]
                self._input = model, usage
            else:
                estimate = await self._hold.recounted() if self._hold.truncates else self._hold.estimate
                self._input = reading.model, Usage(input=estimate.input_tokens)
        return self._input

    async def _count(self) -> None:
        """Count what has passed since the last time: words once they are whole, the last one anew each time."""
        growing = self._meter.growing
        if growing is None:
            return
        pieces = growing.passed.since(self._pieces)
        self._pieces += len(pieces)
        self._largest_bytes = max(self._largest_bytes, *(len(piece) for piece in pieces), 0)
        text = self._tail + "".join(pieces)
        # A tokenizer's words begin with their space, so what is before one is counted alike with and without the rest.
        at = max(text.rfind(" "), 0) or (len(text) if len(text) > WORD_MAX else 0)
        self._counted += await tokens_of(text[:at], self._call.model)
        self._tail = text[at:]
        self._tail_tokens = await tokens_of(self._tail, self._call.model)
        self._output_tokens = self._hold.output_tokens(self._written)

    @property
    def _written(self) -> Written:
        """What has passed; what is beyond the text that is kept in memory is taken to be like what is."""
        growing = self._meter.growing
        counted = self._counted + self._tail_tokens
        if growing is None:
            return Written(counted, self._pieces)
        passed = growing.passed
        if passed.bytes != passed.kept_bytes:
            counted = math.ceil(counted * passed.bytes / max(passed.kept_bytes, 1))
        return Written(counted, passed.pieces)


class TurnGrowth(Growth):
    """One turn of a session and its hold: text, and sound that is counted by its length."""

    def __init__(self, hold: Holding, turn: Turn) -> None:
        super().__init__(hold, turn.call, turn)
        self._turn = turn
        self._next_bytes = -1

    @property
    def due(self) -> bool:
        turn = self._turn
        return turn.passed.bytes + turn.sound > self._next_bytes and turn.begun

    async def _known(self) -> Part:
        """Return what was said before it and what sound has passed since, where its session counts them."""
        parts = self._turn.reading().parts
        return parts[0] if parts else await super()._known()

    def _with(self, usage: Usage, more: int) -> Usage:
        return self._turn.further(usage, more)

    @property
    def _passed(self) -> int:
        return self._turn.passed.bytes + self._turn.sound

    @property
    def _made(self) -> int:
        return super()._made + self._turn.sound

    @property
    def _at_once(self) -> int:
        return super()._at_once + self._turn.sound_at_once
