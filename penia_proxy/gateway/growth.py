"""
Let what is held grow with a running answer.

Its one job: to know, as a stream passes, whether what it has cost is held, to hold more in steps, and to say when a
budget that truncates has no room for the next one.
Rules: counting is done a step at a time and never per chunk: no tokenizer makes more tokens than bytes, so nothing is
looked at before as many bytes have passed as tokens are held. What is on its way when a stream is cut is held as well.
"""

import math
from dataclasses import replace

from penia_proxy.budget.estimate import STEP_TOKENS
from penia_proxy.budget.output_ratio import Written
from penia_proxy.budget.usage import Usage
from penia_proxy.gateway.counting import tokens_of
from penia_proxy.gateway.holding import Holding
from penia_proxy.wire.call import Call, Meter

IN_FLIGHT_TOKENS = 4
"""Made by the provider between the last bytes that came and its noticing that we hung up."""

WORD_MAX = 256
"""Characters without a space that are taken for one word: some scripts have none."""

NEVER = 2**63
"""More bytes than will pass."""

Part = tuple[str | None, Usage]


class Growth:
    """One running stream and its hold."""

    def __init__(self, hold: Holding, call: Call, meter: Meter) -> None:
        self._hold = hold
        self._call = call
        self._meter = meter
        self._input: Part | None = None
        self._counted = 0
        """Tokens of the words that are whole."""
        self._tail = ""
        self._tail_tokens = 0
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
        tokens = self._output_tokens + IN_FLIGHT_TOKENS
        needed, next_step = await self._cost(tokens), await self._cost(tokens + STEP_TOKENS)
        if needed is None or next_step is None:
            self._next_bytes = NEVER
            return True
        if next_step == needed:  # more of it costs nothing, and hanging up would save nothing
            await self._hold.extend(max(held, needed))
            self._next_bytes = NEVER
            return True
        each = -(-(next_step - needed) // STEP_TOKENS)
        # What comes next comes at once, and is billed before it can be looked at.
        next_tokens = max(1, -(-self._largest_bytes * tokens // growing.passed.bytes))
        steps = max(STEP_TOKENS, next_tokens, tokens // 4)
        while held < needed + each * next_tokens:
            if await self._hold.extend(needed + each * steps):
                held = needed + each * steps
            elif steps == next_tokens:
                return False
            else:
                steps = max(steps // 2, next_tokens)
        self._next_bytes = growing.passed.bytes + (held - needed) // each - next_tokens
        return True

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

    async def _cost(self, output_tokens: int) -> int | None:
        model, usage = await self._known()
        return self._hold.bill(((model, replace(usage, output=output_tokens)),), "partial").cost_nanos

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

    @property
    def _output_tokens(self) -> int:
        """What has passed, in the provider's tokens."""
        return self._hold.output_tokens(self._written)

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
