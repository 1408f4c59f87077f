"""
Measure what metering costs: Penia, a bare aiohttp relay and a direct connection, in turns, in one run.

Its one job: start the four servers, load them in turns, and print the tables that docs/benchmarks.md quotes.
Run: make bench
"""

import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.load import Load, load

ROUNDS = 3
MODES = ("full", "normal")
SMALL, LARGE = 300, 100_000


@dataclass(frozen=True)
class Server:
    """Something that answers on a port."""

    name: str
    port: int


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(port: int, *command: str, core: int, env: dict[str, str] | None = None) -> Iterator[None]:
    """Run a server on one core until the context ends."""

    def pin() -> None:
        os.sched_setaffinity(0, {core})

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else 1
    child = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **(env or {})},
        preexec_fn=pin if cores > 1 else None,  # noqa: PLW1509 - no threads here
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > deadline or child.poll() is not None:
                raise RuntimeError(f"{command} did not start")
            time.sleep(0.05)
        yield
    finally:
        child.terminate()
        child.wait(20)


CONFIG = """
server: {{port: {port}}}
ledger: {{url: "sqlite:///{db}", durability: {durability}}}
providers: {{openai: {{base_url: "{upstream}", format: openai}}}}
budgets:
  - {{name: Default, daily_limit: 1000000, enforcement: block, overrun: never}}
"""


@contextmanager
def penia(folder: Path, durability: str, upstream: str) -> Iterator[Server]:
    """Run the gateway with a blocking budget and a file database."""
    port = free_port()
    config = folder / f"{durability}.yaml"
    config.write_text(
        CONFIG.format(port=port, db=folder / f"{durability}.db", durability=durability, upstream=upstream)
    )
    with process(port, "-m", "penia_proxy", "serve", "-c", str(config), core=0):
        yield Server(f"penia, durability {durability}", port)


def run(server: Server, *, connections: int, calls: int, body: int = SMALL, stream: bool = False) -> Load:
    """Load one server once."""
    path = "/v1/chat/completions" if server.name == "direct" else "/openai/v1/chat/completions"
    measured = load(server.port, connections=connections, calls=calls, body_bytes=body, stream=stream, path=path)
    return uvloop.run(measured)


def medians(loads: list[Load], *figures: str) -> list[float]:
    """Return the median over rounds of each figure."""
    found = {
        "calls/s": lambda one: one.calls_per_s,
        "chunks/s": lambda one: one.chunks_per_s,
        "p50 ms": lambda one: 1000 * statistics.median(one.latencies_s),
        "p99 ms": lambda one: 1000 * statistics.quantiles(one.latencies_s, n=100)[98],
        "first byte p50 ms": lambda one: 1000 * statistics.median(one.first_bytes_s),
    }
    return [statistics.median(found[figure](one) for one in loads) for figure in figures]


def table(title: str, servers: list[Server], figures: tuple[str, ...], *, calls: int, **how: object) -> None:
    """Measure in turns and print one table, each figure also against the bare relay's."""
    loads: dict[str, list[Load]] = {server.name: [] for server in servers}
    for server in servers:
        run(server, calls=max(20, calls // 10), **how)  # type: ignore[arg-type]
    for _ in range(ROUNDS):
        for server in servers:
            loads[server.name].append(run(server, calls=calls, **how))  # type: ignore[arg-type]
    base = dict(zip(figures, medians(loads["bare aiohttp relay"], *figures), strict=True))
    print(f"\n### {title}\n")
    print("| | " + " | ".join(f"{figure} | {'to relay' if '/s' in figure else 'added'}" for figure in figures) + " |")
    print("|---|" + "---:|" * (2 * len(figures)))
    for server in servers:
        cells = []
        for figure, value in zip(figures, medians(loads[server.name], *figures), strict=True):
            cells += [f"{value:,.0f}" if "/s" in figure else f"{value:.2f}"]
            against = f"{value / base[figure]:.2f}×" if "/s" in figure else f"{value - base[figure]:+.2f}"
            cells += [against if server.name.startswith("penia") else ""]
        print(f"| {server.name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Print every table."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    versions = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    print(f"{versions}; {ROUNDS} rounds in turns, medians.")
    print("Gateway and relay share one core, client and provider the other.")
    upstream_port, relay_port = free_port(), free_port()
    upstream = f"http://127.0.0.1:{upstream_port}"
    with (
        tempfile.TemporaryDirectory(prefix="penia-bench-") as folder,
        process(upstream_port, "-m", "benchmarks.provider", str(upstream_port), core=1),
        process(relay_port, "-m", "benchmarks.relay", str(relay_port), upstream, core=0),
        penia(Path(folder), "full", upstream) as full,
        penia(Path(folder), "normal", upstream) as normal,
    ):
        servers = [Server("direct", upstream_port), Server("bare aiohttp relay", relay_port), full, normal]
        low = ("p50 ms", "p99 ms")
        table("One connection, 300-byte bodies", servers, low, calls=400, connections=1)
        table("One connection, 100-kB bodies", servers, low, calls=200, connections=1, body=LARGE)
        rate = ("calls/s", "p50 ms", "p99 ms")
        table("32 connections, 300-byte bodies", servers, rate, calls=3000, connections=32)
        table("32 connections, 100-kB bodies", servers, rate, calls=1000, connections=32, body=LARGE)
        flow = ("chunks/s", "first byte p50 ms")
        table("50 streams of 100 chunks", servers, flow, calls=200, connections=50, stream=True)


if __name__ == "__main__":
    main()
