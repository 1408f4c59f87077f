"""
Ask as fast as it can be answered.

Its one job: a lean HTTP client on asyncio's streams that measures each call; it costs far less than what it measures.
"""

import asyncio
import json
import time
from dataclasses import dataclass

PATH = "/openai/v1/chat/completions"


@dataclass(frozen=True)
class Load:
    """One measured run."""

    calls: int
    seconds: float
    latencies_s: list[float]
    first_bytes_s: list[float]
    chunks: int

    @property
    def calls_per_s(self) -> float:
        """Calls answered a second."""
        return self.calls / self.seconds

    @property
    def chunks_per_s(self) -> float:
        """Stream events received a second."""
        return self.chunks / self.seconds


@dataclass(frozen=True)
class Ask:
    """What is asked for: a body of about so many bytes, and a stream of so many chunks (0: none)."""

    body_bytes: int = 300
    chunks: int = 0
    delay_ms: int = 0
    components: int = 1
    """Over how many components the calls are spread."""
    breaks: bool = False
    """Whether the provider breaks its stream off."""
    fails: bool = False
    """Whether the provider answers with an error."""


def request_bytes(ask: Ask, path: str, component: int) -> bytes:
    """Return one call."""
    # The provider reads what is asked of it at the beginning of the body, wherever a large one ends.
    wishes = {"chunks": ask.chunks, "delay_ms": ask.delay_ms, "breaks": int(ask.breaks), "fails": int(ask.fails)}
    body: dict[str, object] = {
        "model": "gpt-4o-mini",
        "max_tokens": 200,
        "stream": ask.chunks > 0,
    }
    if ask.chunks or ask.fails:
        body["user"] = ",".join(f"{name}={value}" for name, value in wishes.items() if value)
    body["messages"] = [{"role": "user", "content": ""}]
    missing = max(0, ask.body_bytes - len(json.dumps(body)))
    body["messages"] = [{"role": "user", "content": ("word " * (missing // 5 + 1))[:missing]}]
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer none\r\n"
        f"X-Penia-Component: c{component}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def load(port: int, ask: Ask, *, connections: int, calls: int, path: str = PATH) -> Load:
    """Send ``calls`` over ``connections`` kept alive, each waiting for its answer before the next."""
    payloads = [request_bytes(ask, path, component) for component in range(ask.components)]
    latencies: list[float] = []
    first_bytes: list[float] = []
    chunks = 0
    left = calls

    async def worker() -> None:
        nonlocal left, chunks
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        while left > 0:
            left -= 1
            began = time.perf_counter()
            writer.write(payloads[left % len(payloads)])
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:20]:
                raise RuntimeError(f"not answered: {head[:200]!r}")
            first_bytes.append(time.perf_counter() - began)
            events = await _body(reader, head.lower())
            chunks += events
            latencies.append(time.perf_counter() - began)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return Load(len(latencies), time.perf_counter() - started, latencies, first_bytes, chunks)


async def _body(reader: asyncio.StreamReader, head: bytes) -> int:
    """Read a body to its end; return how many events it had."""
    at = head.find(b"content-length:")
    if at >= 0:
        await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
        return 0
    events = 0
    while (size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)) > 0:
        events += (await reader.readexactly(size + 2)).count(b"data:")
    await reader.readuntil(b"\r\n")
    return events
