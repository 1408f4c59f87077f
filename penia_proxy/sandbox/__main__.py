"""
Run the sandbox as a process of its own: ``python -m penia_proxy.sandbox --port N --log FILE``.

For tests that kill a gateway and ask afterwards what the provider saw. It prints its URL when it can be called.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from penia_proxy.sandbox.app import running_sandbox
from penia_proxy.sandbox.faults import Behaviour, ScriptError, with_settings


def main() -> int:
    """Run until SIGINT or SIGTERM. Exit code 2: a setting makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m penia_proxy.sandbox", description="A provider without a network.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free port")
    parser.add_argument("--log", type=Path, help="append one JSON line when a call starts and one when it ends")
    parser.add_argument("--unique-ids", action="store_true", help="equal calls get different ids")
    parser.add_argument(
        "--behave",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="how calls are answered, e.g. chunk_delay_s=0.01; may be repeated; X-Sandbox-* headers win",
    )
    given = parser.parse_args()
    try:
        pairs = [(name.strip().replace("-", "_"), value) for name, _, value in (s.partition("=") for s in given.behave)]
        default = with_settings(Behaviour(), pairs)
    except ScriptError as error:
        parser.error(str(error))
    asyncio.run(_serve(given, default))
    return 0


async def _serve(given: argparse.Namespace, default: Behaviour) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        # Not the loop's own signal handlers: Windows has none.
        signal.signal(sign, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with running_sandbox(
        host=given.host, port=given.port, log=given.log, default=default, unique_ids=given.unique_ids
    ) as sandbox:
        sys.stdout.write(f"{sandbox.url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
