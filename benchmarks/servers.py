"""
Run what is measured: the provider, a bare relay, the gateway; each a process on one core.

Its one job: start them, wait until they listen, know their processor time, and stop them.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

THROUGH = "/openai/v1/chat/completions"
"""Where chat completions are that pass through Penia or the relay."""


@dataclass(frozen=True)
class Server:
    """Something that answers on a port."""

    name: str
    port: int
    pid: int
    path: str = "/v1/chat/completions"
    """Where its chat completions are."""

    def cpu_s(self) -> float:
        """Return the processor time it has used; 0 where the system does not say."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Return the memory it has in use."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split(maxsplit=1)[0]) / 1024

    def open_files(self) -> int:
        """Return how many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pin(core: int) -> None:
    """Keep this process on one core, where there are more and the system can."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


@contextmanager
def process(
    name: str,
    port: int,
    *command: str,
    core: int,
    program: str = sys.executable,
    env: dict[str, str] | None = None,
    errors: int | IO[str] | None = None,
) -> Iterator[Server]:
    """Run a server on one core until the context ends; ``errors``: where what it complains about goes."""
    child = subprocess.Popen(
        [program, *command],
        env={**os.environ, **(env or {})},
        preexec_fn=lambda: pin(core),  # noqa: PLW1509 - no threads here
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > deadline or child.poll() is not None:
                raise RuntimeError(f"{name} did not start: {Path(program).name} {' '.join(command)}")
            time.sleep(0.05)
        yield Server(name, port, child.pid)
    finally:
        child.terminate()
        child.wait(60)


CONFIG = """
server: {{port: {port}, upstream_client: {client}{limits}}}
ledger: {{url: "sqlite:///{db}", durability: {durability}}}
providers: {{openai: {{base_url: "{upstream}", format: openai}}}}
budgets:
  - {{name: Default, daily_limit: 1000000, enforcement: block, overrun: never}}
"""


@contextmanager
def penia(
    name: str,
    db: Path,
    upstream: str,
    *,
    durability: str = "full",
    client: str = "lean",
    budgets: int = 1,
    limits: Mapping[str, int] | None = None,
) -> Iterator[Server]:
    """
    Run the gateway with a blocking budget over everything, and ``budgets`` - 1 over one component each.

    ``limits``: further members of its ``server`` section.
    """
    port = free_port()
    more = "".join(f", {name}: {value}" for name, value in (limits or {}).items())
    text = CONFIG.format(port=port, db=db, durability=durability, upstream=upstream, client=client, limits=more)
    text += "".join(
        f"  - {{name: B{number}, daily_limit: 1000000, enforcement: block, overrun: never,"
        f" scope: {{components: [c{number}]}}}}\n"
        for number in range(1, budgets)
    )
    config = db.with_suffix(".yaml")
    config.write_text(text)
    with process(name, port, "-m", "penia_proxy", "serve", "-c", str(config), core=0) as server:
        yield replace(server, path=THROUGH)


@contextmanager
def provider(core: int = 1) -> Iterator[Server]:
    """Run the provider."""
    port = free_port()
    with process("direct", port, "-m", "benchmarks.provider", str(port), core=core) as server:
        yield server


@contextmanager
def relay(upstream: str) -> Iterator[Server]:
    """Run the bare relay."""
    port = free_port()
    with process("bare aiohttp relay", port, "-m", "benchmarks.relay", str(port), upstream, core=0) as server:
        yield replace(server, path=THROUGH)
