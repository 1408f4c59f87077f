"""
Measure how far budgets are overrun, at the provider.

Its one job: many streams at once against a budget of a few, under each `overrun` and under a check after the fact; what
the provider made is what counts, not our own books.
"""

import asyncio
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import aiohttp

from penia_proxy.app import Gateway
from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import SystemClock
from penia_proxy.config import BudgetSpec, Config, LedgerConfig, ProviderConfig, ServerConfig
from penia_proxy.sandbox import Sandbox, running_sandbox
from penia_proxy.sandbox.faults import Asked, Behaviour

MODEL = "gpt-4o-mini"
STREAMS = 128
CALLS_WORTH = 20
MEDIAN_TOKENS = 150
SIGMA = 0.8
CAP_TOKENS = 1024
CHUNK_DELAY_S = 0.005
RUNS = 3
HISTORY = 40
"""Calls before the budget is set: what was learned is kept across restarts, so that a gateway has some."""
RULES = ("never", "finish", "truncate", "check-after")

BODY = {
    "model": MODEL,
    "stream": True,
    "max_tokens": CAP_TOKENS,
    "messages": [{"role": "user", "content": "Write something of the length that you like."}],
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to, at the provider."""

    billed: float
    """Of the limit."""
    answered: int
    truncated: int


class Lengths:
    """Log-normal lengths of answers, the same for each rule."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, _asked: Asked) -> Behaviour:
        tokens = int(self._random.lognormvariate(math.log(MEDIAN_TOKENS), SIGMA))
        return Behaviour(output_tokens=max(1, min(tokens, CAP_TOKENS)), chunk_delay_s=CHUNK_DELAY_S)


def billed_nanos(sandbox: Sandbox, card: RateCard) -> int:
    """Return what the provider has made, of what was hung up on as well."""
    return sum(
        card.price(Usage(input=call.input_tokens, output=call.produced_tokens)).total_nanos for call in sandbox.calls
    )


async def until_refused(ask: Callable[[], Awaitable[int]]) -> int:
    """Ask again and again until the budget is exhausted; return how many were answered."""
    answered = 0
    while True:
        status = await ask()
        if status == 402:
            return answered
        answered += status == 200
        if status == 429:
            await asyncio.sleep(0.25)


async def run(rule: str, limit_nanos: int, seed: int, card: RateCard) -> Outcome:
    """Let all streams loose on a fresh budget."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            running_sandbox(Lengths(seed)) as sandbox,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            spec = BudgetSpec(
                name="limit",
                total_limit=1000.0,
                enforcement="track" if rule == "check-after" else "block",
                overrun="finish" if rule == "check-after" else rule,
            )
            config = Config(
                server=ServerConfig(port=0),
                ledger=LedgerConfig(url=f"sqlite:///{Path(folder) / 'bench.db'}"),
                providers={"openai": ProviderConfig(base_url=sandbox.url, format="openai")},
                budgets=(spec,),
            )
            gateway = await Gateway(config, SystemClock()).start()
            before: int | None = None

            def spent() -> int:
                return sum(
                    card.price(Usage(input=call.input_tokens, output=call.output_tokens)).total_nanos
                    for call in sandbox.calls
                    if call.finished
                ) - (before or 0)

            try:

                async def ask() -> int:
                    if rule == "check-after" and before is not None and spent() >= limit_nanos:
                        return 402
                    url = f"{gateway.url}/openai/v1/chat/completions"
                    async with session.post(url, json=BODY, headers={"Authorization": "Bearer made-up"}) as answer:
                        await answer.read()
                        return answer.status

                await asyncio.gather(*(ask() for _ in range(HISTORY)))
                before = billed_nanos(sandbox, card)
                (budget,) = gateway.book
                limited = {"total_limit": float(Decimal(before + limit_nanos) / 10**9)}
                async with session.put(f"{gateway.url}/api/v1/budgets/{budget.budget_id}", json=limited) as answer:
                    answer.raise_for_status()
                answered = await asyncio.gather(*(until_refused(ask) for _ in range(STREAMS)))
                while gateway.ledger.holds_open:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)  # for whoever was hung up on to notice
                await gateway.ledger.caught_up()
                async with session.get(f"{gateway.url}/api/v1/usage/records?limit=100") as found:
                    records = (await found.json())["items"]
            finally:
                await gateway.stop()
            truncated = sum(record["status"] == "truncated" for record in records)
            return Outcome((billed_nanos(sandbox, card) - before) / limit_nanos, sum(answered), truncated)


async def main() -> None:
    """Print the table."""
    card = PriceBook.load().card("openai", MODEL, SystemClock().now())
    if card is None:
        sys.exit(f"no price for {MODEL}")
    expected = int(MEDIAN_TOKENS * math.exp(SIGMA**2 / 2))
    limit = CALLS_WORTH * card.expected(24, expected)
    print(f"{STREAMS} streams at once, a budget of {CALLS_WORTH} calls' expected worth, after {HISTORY} calls;")
    print(f"medians of {RUNS} runs, the most over of all, by what the provider made\n")
    print("| overrun | used of the limit | most over the limit | answered | of them cut short |")
    print("|---|---|---|---|---|")
    for rule in RULES:
        outcomes = [await run(rule, limit, seed, card) for seed in range(RUNS)]
        used = statistics.median(outcome.billed for outcome in outcomes)
        over = max(0.0, max(outcome.billed for outcome in outcomes) - 1)
        answered = statistics.median(outcome.answered for outcome in outcomes)
        truncated = statistics.median(outcome.truncated for outcome in outcomes)
        print(f"| {rule} | {used:.1%} | {over:.2%} | {answered:.0f} | {truncated:.0f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
