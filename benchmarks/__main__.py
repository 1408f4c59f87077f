"""
Measure what metering costs: Penia, a bare aiohttp relay and a direct connection, in turns, in one run.

Its one job: start the servers, load them in turns, and print the tables that docs/benchmarks.md quotes.
Run: make bench, or python -m benchmarks [low] [saturation] [streams] [growth]
"""

import os
import platform
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.history import fill
from benchmarks.load import Ask, Load, load
from benchmarks.servers import Server, penia, pin, provider, relay

ROUNDS = 3
PARTS = ("low", "saturation", "streams", "growth")
LARGE = 100_000
RELAY = "bare aiohttp relay"


@dataclass(frozen=True)
class Run:
    """One measured run, and the processor time of the server that was loaded."""

    load: Load
    cpu_s: float


def run(server: Server, ask: Ask, *, connections: int, calls: int) -> Run:
    """Load one server once."""
    before = server.cpu_s()
    measured = uvloop.run(load(server.port, ask, connections=connections, calls=calls, path=server.path))
    return Run(measured, server.cpu_s() - before)


FIGURES = {
    "calls/s": lambda one: one.load.calls_per_s,
    "chunks/s": lambda one: one.load.chunks_per_s,
    "p50 ms": lambda one: 1000 * statistics.median(one.load.latencies_s),
    "p99 ms": lambda one: 1000 * statistics.quantiles(one.load.latencies_s, n=100)[98],
    "first byte p50 ms": lambda one: 1000 * statistics.median(one.load.first_bytes_s),
    "CPU µs/call": lambda one: 1e6 * one.cpu_s / one.load.calls,
    "CPU µs/chunk": lambda one: 1e6 * one.cpu_s / max(one.load.chunks, 1),
}


def measured(servers: list[Server], ask: Ask, *, connections: int, calls: int) -> dict[str, list[Run]]:
    """Load servers in turns."""
    for server in servers:
        run(server, ask, connections=connections, calls=max(20, calls // 10))
    runs: dict[str, list[Run]] = {server.name: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            runs[server.name].append(run(server, ask, connections=connections, calls=calls))
    return runs


def median(runs: list[Run], figure: str) -> float:
    """Return the median over rounds of a figure."""
    return statistics.median(FIGURES[figure](one) for one in runs)


def table(
    title: str, servers: list[Server], figures: tuple[str, ...], ask: Ask, *, connections: int, calls: int
) -> None:
    """Measure in turns and print one table, each figure also against the bare relay's."""
    runs = measured(servers, ask, connections=connections, calls=calls)
    print(f"\n### {title}\n")
    print(
        "| | "
        + " | ".join(f"{figure} | {'added' if figure.endswith(' ms') else 'to relay'}" for figure in figures)
        + " |"
    )
    print("|---|" + "---:|" * (2 * len(figures)))
    for server in servers:
        cells = []
        for figure in figures:
            value, base = median(runs[server.name], figure), median(runs[RELAY], figure)
            cells.append(f"{value:.2f}" if figure.endswith(" ms") else f"{value:,.0f}")
            against = f"{value - base:+.2f}" if figure.endswith(" ms") else f"{value / max(base, 1e-9):.2f}×"
            cells.append(against if server.name.startswith("penia") else "")
        print(f"| {server.name} | " + " | ".join(cells) + " |", flush=True)


def compare(parts: set[str], folder: Path, upstream: Server) -> None:
    """Print the tables that set the gateway beside a bare relay."""
    url = f"http://127.0.0.1:{upstream.port}"
    with ExitStack() as stack:
        servers = [
            upstream,
            stack.enter_context(relay(url)),
            stack.enter_context(penia("penia, full", folder / "full.db", url)),
            stack.enter_context(penia("penia, normal", folder / "normal.db", url, durability="normal")),
            stack.enter_context(penia("penia, full, aiohttp's client", folder / "aiohttp.db", url, client="aiohttp")),
        ]
        if "low" in parts:
            low = ("p50 ms", "p99 ms", "CPU µs/call")
            table("One connection, 300-byte bodies", servers, low, Ask(), calls=400, connections=1)
            table("One connection, 100-kB bodies", servers, low, Ask(LARGE), calls=200, connections=1)
        if "saturation" in parts:
            rate = ("calls/s", "p50 ms", "p99 ms", "CPU µs/call")
            table("32 connections, 300-byte bodies", servers, rate, Ask(), calls=2000, connections=32)
            table("32 connections, 100-kB bodies", servers, rate, Ask(LARGE), calls=800, connections=32)
        if "streams" in parts:
            flow = ("chunks/s", "first byte p50 ms", "CPU µs/chunk")
            table("50 streams of 100 chunks", servers, flow, Ask(chunks=100), calls=200, connections=50)
            slow = Ask(chunks=100, delay_ms=20)
            table("50 streams of 100 chunks, 20 ms apart", servers, flow, slow, calls=100, connections=50)


def growth(folder: Path, upstream: Server) -> None:
    """Print lines of figures that must not grow."""
    url = f"http://127.0.0.1:{upstream.port}"
    print("\n### What a call costs as things grow: CPU µs\n")
    print("| | | | |\n|---|---:|---:|---:|")
    with ExitStack() as stack:
        of = {
            n: stack.enter_context(penia(f"{n} budgets", folder / f"b{n}.db", url, budgets=n)) for n in (1, 100, 10_000)
        }
        line("budgets", {f"{n:,}": (server, Ask()) for n, server in of.items()})
        line("components", {f"{n:,}": (of[1], Ask(components=n)) for n in (1, 100, 10_000)})
        lengths = {f"{n:,}": (of[1], Ask(chunks=n)) for n in (10, 100, 1_000)}
        line("chunks of a stream, a chunk", lengths, "CPU µs/chunk", calls=60)
    with ExitStack() as stack:
        past = {}
        for n in (0, 100_000, 1_000_000):
            fill(folder / f"r{n}.db", n)
            past[f"{n:,}"] = (stack.enter_context(penia(f"{n} records", folder / f"r{n}.db", url)), Ask())
        line("records in the ledger", past)


def line(what: str, asked: dict[str, tuple[Server, Ask]], figure: str = "CPU µs/call", *, calls: int = 1000) -> None:
    """Measure in turns and print one line."""
    runs: dict[str, list[Run]] = {size: [] for size in asked}
    for server, ask in asked.values():
        run(server, ask, connections=16, calls=calls // 5)
    for _ in range(ROUNDS):
        for size, (server, ask) in asked.items():
            runs[size].append(run(server, ask, connections=16, calls=calls))
    cells = [f"{size}: {median(one, figure):,.0f}" for size, one in runs.items()]
    print(f"| {what} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print every table, or those named."""
    parts = set(sys.argv[1:]) or set(PARTS)
    if unknown := parts - set(PARTS):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    pin(1)
    versions = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    print(f"{versions}; {ROUNDS} rounds in turns, medians.")
    print("Gateway and relay share one core, client and provider the other.")
    with tempfile.TemporaryDirectory(prefix="penia-bench-") as folder, provider() as upstream:
        if parts & {"low", "saturation", "streams"}:
            compare(parts, Path(folder), upstream)
        if "growth" in parts:
            growth(Path(folder), upstream)


if __name__ == "__main__":
    main()
