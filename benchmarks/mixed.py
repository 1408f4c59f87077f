"""
Ask for everything at once, at a steady rate.

Its one job: the calls of a soak (short and long bodies, streams heard out, left and broken off, provider's errors), and
whether each ended as it was meant to. Connections are kept where they can be.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.load import PATH, Ask, request_bytes

COMPONENTS = 16
LEFT_AFTER_BYTES = 600
"""Of a stream that its caller leaves: two or three events of twenty."""


@dataclass(frozen=True)
class Kind:
    """One kind of call: how many of a hundred, and how it ends (200 or another status, `left`, `broken`)."""

    name: str
    share: int
    ask: Ask
    ends: str = "200"
    named: bool = False
    """Whether it has a request id of its own."""


LONG = Ask(100_000)
STREAM = Ask(chunks=20, delay_ms=5)
KINDS = (
    Kind("short", 58, Ask()),
    Kind("short, named", 12, Ask(), named=True),
    Kind("100 kB", 10, LONG),
    Kind("stream", 10, STREAM),
    Kind("stream that its caller leaves", 4, STREAM, "left"),
    Kind("stream that its provider breaks off", 3, Ask(chunks=10, delay_ms=5, breaks=True), "broken"),
    Kind("provider's error", 3, Ask(fails=True), "500"),
)


class Mixed:
    """Calls to one gateway, and what became of them."""

    def __init__(self, port: int) -> None:
        self.done: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        """By kind and end: what did not end as it should."""
        self.latencies_s: list[float] = []
        """Of the short calls since somebody last emptied it."""
        self._port = port
        self._number = itertools.count()
        self._random = random.Random(1)
        self._payloads = {
            kind.name: [request_bytes(kind.ask, PATH, component) for component in range(COMPONENTS)] for kind in KINDS
        }

    async def run(self, seconds: float, *, connections: int, per_s: float | None = None) -> float:
        """
        Ask for so long; return the calls ended a second.

        ``per_s``: begin so many a second, whether earlier ones have ended or not, as far as there are connections.
        """
        started = time.perf_counter()
        before = self.done.total()
        turns = itertools.count()

        async def caller() -> None:
            line = Line(self._port)
            while True:
                now = time.perf_counter()
                at = started + next(turns) / per_s if per_s else now
                if at >= started + seconds:
                    return line.close()
                if at > now:
                    await asyncio.sleep(at - now)
                await self._one(line)

        await asyncio.gather(*(caller() for _ in range(connections)))
        return (self.done.total() - before) / (time.perf_counter() - started)

    async def _one(self, line: "Line") -> None:
        kind = self._random.choices(KINDS, [kind.share for kind in KINDS])[0]
        number = next(self._number)
        payload = self._payloads[kind.name][number % COMPONENTS]
        if kind.named:
            payload = payload.replace(b"\r\n", b"\r\nX-Penia-Request-Id: soak-%d\r\n" % number, 1)
        began = time.perf_counter()
        end = await line.ask(payload, leave=kind.ends == "left")
        if kind.name == "short":
            self.latencies_s.append(time.perf_counter() - began)
        self.done[kind.name] += 1
        if end != kind.ends:
            self.wrong[f"{kind.name}: {end}"] += 1


class Line:
    """One connection after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, payload: bytes, *, leave: bool) -> str:
        """Make one call; return how it ended."""
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
            self._writer.write(payload)
            await self._writer.drain()
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            return f"no answer ({type(error).__name__})"
        try:
            if leave:
                await self._reader.readexactly(LEFT_AFTER_BYTES)
                self.close()
                return "left"
            await self._body(head)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return "broken"
        return head[9:12].decode()

    async def _body(self, head: bytes) -> None:
        at = head.find(b"content-length:")
        if at >= 0:
            await self._reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
            return
        while (size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)) > 0:
            await self._reader.readexactly(size + 2)
        await self._reader.readuntil(b"\r\n")

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
