"""
``penia replay``: meter recorded exchanges, and compare.

Its one job: put each recorded request and answer through a whole gateway, the recording answering as the provider, and
hold tokens, cost and bytes against what the file expects.
Rules: every exchange is exact, explained or wrong; nothing is left out of the table. The prices are those of the day in
``--at``.
"""

import asyncio
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli.exits import FAILED, UNUSABLE, stop
from penia_proxy.cli.replay_sessions import UNSTATED, Grade, Outcome, replay_session

if TYPE_CHECKING:
    import aiohttp

    from penia_proxy.app import Gateway
    from penia_proxy.budget.record import UsageRecord
    from penia_proxy.sandbox.recordings import Recording, SessionRecording

PRICED_AT = "2026-11-23T12:00:00Z"
"""The instant at which the recordings' expectations were priced."""

TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
"""The file's names, and the record's."""

SPOKEN_AS = {
    "google-vertex": "google",
    "ollama-cloud": "ollama",
    "azure-foundry": "azure",
    "azure-voice-live": "azure",
    "gpustack": "openai-compatible",
    "crusoe": "openai-compatible",
    "huggingface_together": "huggingface",
    "huggingface_nebius": "huggingface",
}
"""Providers of recordings that are another name of a format: the format, which is the catalogue's name as well."""

PRICED_AS = {
    "bedrock": "aws",
    "bedrock-mantle": "aws",
    "ollama-cloud": "ollama-cloud",
    "gpustack": "gpustack",
    "crusoe": "crusoe",
    "portkey": "portkey",
    "huggingface_together": "huggingface_together",
    "huggingface_nebius": "huggingface_nebius",
}
"""Where it is not."""

_RESULTS = re.compile(r"/(?:files|batches)/([^/?]+)/(?:content|results)")
"""Where results are read, by the name that counts them once."""

KEYS_SHOWN = 20

NOT_SPOKEN = "this path is not metered yet, so it is refused (404 unmetered_route)"
INSIDE = "a batch job with its answers inside: billed once by their usage, which the file takes for a free read"
PRICELESS = "the catalogue lists the model without any price: expected 0, recorded unpriced, never a quiet 0"
NO_USAGE = "recorded without usage in a stream that had not asked for it; Penia asks, the recording cannot answer"
ESTIMATED = "the answer carries no usage"


class SetClock:
    """A wall clock that was set to an instant, so that prices are those of that day."""

    def __init__(self, instant: datetime) -> None:
        from penia_proxy.clock import SystemClock

        self._instant = instant
        self.monotonic = SystemClock().monotonic
        self._set_at = self.monotonic()

    def now(self) -> datetime:
        """Return the instant, and the time since it was set."""
        return self._instant + timedelta(seconds=self.monotonic() - self._set_at)


def replay(
    files: Annotated[list[Path], typer.Argument(help="JSON Lines of recorded exchanges, plain or .gz.", exists=True)],
    *,
    chunk: Annotated[int, typer.Option(help="Bytes the recorded provider sends at a time.", min=1)] = 1024,
    at: Annotated[str, typer.Option(help="The instant whose prices count.")] = PRICED_AT,
    everything: Annotated[
        bool,
        typer.Option("--all", help="List every exchange that is not exact, those of providers not spoken yet as well."),
    ] = False,
) -> None:
    """
    Put recorded exchanges through the whole gateway and compare tokens, cost and bytes with the file's expectation.

    Exits with 1 if any exchange is wrong.
    """
    from penia_proxy.clock import from_iso
    from penia_proxy.sandbox.recordings import recordings_in

    try:
        instant = from_iso(at).astimezone(UTC)
        recordings = [recording for file in files for recording in recordings_in(file)]
    except ValueError as error:
        raise stop(f"cannot read the recordings: {error}", UNUSABLE) from None
    outcomes = asyncio.run(_replay(recordings, chunk, instant))
    if _show(recordings, outcomes, everything=everything):
        raise SystemExit(FAILED)


async def _replay(recordings: "list[Recording | SessionRecording]", chunk: int, at: datetime) -> dict[str, Outcome]:
    import aiohttp

    from penia_proxy.app import Gateway
    from penia_proxy.config import KNOWN_FORMATS, Config, LedgerConfig, ProviderConfig, ServerConfig
    from penia_proxy.sandbox.recordings import RecordedProvider, SessionRecording

    by_key = {recording.key: recording for recording in recordings}
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="penia-replay-") as folder:
        async with RecordedProvider(by_key, chunk).running() as provider:
            formats = {
                recording.provider: SPOKEN_AS.get(recording.provider, recording.provider) for recording in recordings
            }
            names = sorted(name for name, spoken in formats.items() if spoken in KNOWN_FORMATS)
            config = Config(
                server=ServerConfig(port=0, max_body_mb=256),
                ledger=LedgerConfig(url=f"sqlite:///{Path(folder) / 'replay.db'}", durability="normal"),
                providers={
                    name: ProviderConfig(
                        base_url=provider.url, format=formats[name], prices=PRICED_AS.get(name, formats[name])
                    )
                    for name in names
                },
            )
            gateway = await Gateway(config, SetClock(at)).start()
            try:
                async with aiohttp.ClientSession(auto_decompress=False) as session:
                    for key, recording in by_key.items():
                        if recording.provider not in names:
                            outcomes[key] = Outcome("explained", _foreign(recording))
                        elif isinstance(recording, SessionRecording):
                            outcomes[key] = await replay_session(session, gateway.url, recording)
                        else:
                            spoken = formats[recording.provider]
                            outcomes[key] = await _exchange(session, gateway, recording, spoken)
            finally:
                await gateway.stop()
    return outcomes


async def _exchange(
    session: "aiohttp.ClientSession", gateway: "Gateway", recording: "Recording", spoken: str
) -> Outcome:
    from yarl import URL

    from penia_proxy.sandbox.recordings import REPLAY_ID
    from penia_proxy.watch.shapes import record_json

    headers = {
        **recording.request_headers,
        REPLAY_ID: recording.key,
        "X-Penia-Request-Id": f"replay-{recording.key}",
    }
    for name in [name for name in headers if name.lower() in ("content-length", "content-encoding", "host")]:
        del headers[name]
    target = URL(f"{gateway.url}/{recording.provider}{_own_path(recording, spoken)}", encoded=True)
    async with session.request(recording.method, target, data=recording.request_body, headers=headers) as answer:
        body = await answer.read()
        status, coding = answer.status, answer.headers.get("Content-Encoding")
        changed = "X-Penia-Changed" in answer.headers
    if status == 404 and b"unmetered_route" in body:
        return Outcome("explained", NOT_SPOKEN)
    if status != recording.status:
        return Outcome("wrong", f"status {status}, recorded {recording.status}")
    if not _same_bytes(body, coding, recording, changed=changed):
        return Outcome("wrong", "the bytes that arrived are not those recorded")
    await gateway.ledger.caught_up()
    record = await gateway.ledger.queries.record(f"replay-{recording.key}") or await _billed_once(gateway, recording)
    outcome = judge(None if record is None else record_json(record), recording)
    if outcome.grade == "wrong" and record is not None and _is_corrected(record, recording):
        return Outcome("explained", f"pricing/ corrects what the catalogue has for {record.model} of {record.provider}")
    return outcome


def _is_corrected(record: "UsageRecord", recording: "Recording") -> bool:
    """Whether the record is as expected but for a price of ours: at the catalogue's it would be exact."""
    from penia_proxy.budget.prices import PriceBook
    from penia_proxy.watch.shapes import record_json

    catalogue, spoken = PriceBook.catalogue(), SPOKEN_AS.get(record.provider, record.provider)
    names = (record.model, str(record.metadata.get("model_requested")))
    cards = [catalogue.card(PRICED_AS.get(record.provider, spoken), name, record.timestamp) for name in names]
    prices = [card.price(record.usage) for card in cards if card is not None]
    theirs = replace(record, cost_nanos=prices[0].total_nanos) if prices else record
    return judge(record_json(theirs), recording).grade == "exact"


async def _billed_once(gateway: "Gateway", recording: "Recording") -> "UsageRecord | None":
    """Return the record of what an answer says again, or what an earlier recording asked for."""
    if recording.expected["billable"] != "once":
        return None
    of_results = _RESULTS.search(recording.path_and_query)
    name = of_results[1] if of_results else recording.expected.get("dedupe_key")
    return await gateway.ledger.billed(f"{recording.provider}:{name}")


def _own_path(recording: "Recording", spoken: str) -> str:
    """
    Return the recorded path from where it is one of its format.

    What stands before is a part of ``base_url``, of a router or of another gateway; some end in the version.
    """
    from penia_proxy.errors import UnmeteredRoute
    from penia_proxy.gateway.routes import RouteTable
    from penia_proxy.wire.dialects import DIALECTS

    path, mark, query = recording.path_and_query.partition("?")
    path = path.partition("#")[0]
    table = RouteTable(DIALECTS[spoken].routes)
    parts = path.split("/")[1:]
    for start, version in product(range(len(parts)), ("", "/v1")):
        own = f"{version}/{'/'.join(parts[start:])}"
        try:
            table.match(recording.method, own)
        except UnmeteredRoute:
            continue
        return own + mark + query
    return recording.path_and_query


def _same_bytes(body: bytes, coding: str | None, recording: "Recording", *, changed: bool) -> bool:
    from penia_proxy.wire.decode import decoder_for

    plain = decoder_for(coding).decode(body)
    if plain == recording.body:
        return True
    # A stream for which Penia asked for usage has its one usage chunk taken out, and nothing else.
    events = recording.body.split(b"\n\n")
    return changed and plain == b"\n\n".join(event for event in events if not _is_usage_chunk(event))


def _is_usage_chunk(event: bytes) -> bool:
    try:
        chunk = json.loads(event.removeprefix(b"data: "))
    except ValueError:
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and chunk.get("usage") is not None


def judge(record: Mapping[str, Any] | None, recording: "Recording") -> Outcome:
    """Compare a usage record with what the file expects."""
    expected = recording.expected
    if expected["billable"] is False:
        if record is not None and recording.provider == "mistral" and recording.api == "batches":
            return Outcome("explained", INSIDE)
        return Outcome("exact") if record is None else Outcome("wrong", "recorded, but nothing was billed")
    if expected["billable"] == "deferred":
        return Outcome("exact") if record is None else Outcome("wrong", "recorded before its bill was stated")
    if record is None:
        return Outcome("wrong", "no record")
    if expected.get("usage") is None and record["cost_basis"] == "provider_cost":
        return _judge_cost(record, {**expected, "best_cost_usd": expected.get("provider_cost_usd")})
    if expected.get("usage") is None:
        if record["cost_basis"] not in ("estimated", "partial", "unpriced"):
            return Outcome("wrong", f"the answer has no usage, and the basis is {record['cost_basis']}")
        return Outcome("explained", NO_USAGE if recording.asked_for_usage is False else ESTIMATED)
    usage = expected["usage"]
    for theirs, ours in TOKENS.items():
        count = usage.get(theirs, 0)
        if theirs == "cache_read_tokens":
            # Grok on Azure states more of it than there was input (wire_formats.md §1.5); we clamp, as the price does.
            count = min(count, usage.get("input_tokens", 0))
        if record[ours] != count:
            return Outcome("wrong", f"{theirs} {record[ours]}, expected {count}")
    return _judge_cost(record, expected)


def _judge_cost(record: Mapping[str, Any], expected: Mapping[str, Any]) -> Outcome:
    best = expected.get("best_cost_usd")
    if best is None:
        # The file knows no prices of ours: what runs on one's own hardware is free by `pricing/ollama.yaml`.
        is_unpriced = record["cost"] is None or record["cost_basis"] == "free"
        return Outcome("exact") if is_unpriced else Outcome("wrong", "a cost where no price is known")
    if record["cost"] is None:
        if Decimal(best) == 0:
            return Outcome("explained", PRICELESS)
        return Outcome("wrong", f"no price, expected {best}")
    # Each part of an answer is rounded once to a nano-dollar.
    tolerance = Decimal("0.5e-9") * max(1, len(expected.get("components") or ()))
    if abs(Decimal(repr(record["cost"])) - Decimal(best)) > tolerance:
        return Outcome("wrong", f"cost {record['cost']}, expected {best}")
    return Outcome("exact")


def _show(
    recordings: "list[Recording | SessionRecording]", outcomes: Mapping[str, Outcome], *, everything: bool
) -> int:
    """Print the table and the lists; return how many are wrong."""
    from rich.console import Console
    from rich.table import Table

    counts: dict[tuple[str, str], Counter[Grade]] = defaultdict(Counter)
    reasons: dict[str, list[str]] = defaultdict(list)
    wrong: list[str] = []
    spoken = {recording.provider for recording in recordings if outcomes[recording.key].why != _foreign(recording)}
    for recording in recordings:
        outcome = outcomes[recording.key]
        if recording.provider in spoken or everything:
            counts[recording.provider, recording.api][outcome.grade] += 1
        if outcome.grade == "wrong":
            wrong.append(f"{recording.key} {recording.provider} {recording.api}: {outcome.why}")
        elif outcome.grade == "explained" and (recording.provider in spoken or everything):
            reasons[outcome.why].append(recording.key)
    console = Console(highlight=False, soft_wrap=True)
    table = Table("provider", "endpoint", box=None, pad_edge=False)
    for name in ("exchanges", "exact", "explained", "wrong"):
        table.add_column(name, justify="right")
    for (provider, api), grades in sorted(counts.items()):
        figures = [grades.total(), grades["exact"], grades["explained"], grades["wrong"]]
        table.add_row(provider, api, *map(str, figures))
    total = sum(counts.values(), Counter[Grade]())
    table.add_row("all", "", str(total.total()), str(total["exact"]), str(total["explained"]), str(total["wrong"]))
    console.print(table)
    for why, keys in sorted(reasons.items(), key=lambda item: -len(item[1])):
        shown = keys if everything else keys[:KEYS_SHOWN]
        more = f" … and {len(keys) - len(shown)} more (--all)" if len(shown) < len(keys) else ""
        console.print(f"\nexplained ({len(keys)}): {why}\n  {' '.join(shown)}{more}")
    left_out = sum(recording.provider not in spoken for recording in recordings)
    if left_out and not everything:
        console.print(f"\n{left_out} exchanges are of providers whose format is not spoken yet (--all lists them).")
    for line in wrong:
        console.print(f"\n[red]wrong[/red]: {line}")
    console.print()
    for line in closing(recordings, outcomes):
        console.print(line)
    return len(wrong)


def closing(recordings: "list[Recording | SessionRecording]", outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """
    Yield the closing lines: of the exchanges that carry usage, how many are exact, and which are not and why.

    Those that bill without saying what are apart, as nothing can be exact about them; so are those that bill nothing.
    """
    carrying: list[str] = []
    silent: list[str] = []
    for recording in recordings:
        if recording.expected["billable"] is False:
            continue
        (silent if recording.expected.get("usage") is None else carrying).append(recording.key)
    grades = Counter(outcomes[key].grade for key in carrying)
    share = 100 * grades["exact"] / len(carrying) if carrying else 100
    yield (
        f"{len(carrying)} exchanges carry usage: {grades['exact']} exact ({share:.2f} %),"
        f" {grades['explained']} explained, {grades['wrong']} wrong."
    )
    reasons: dict[str, list[str]] = defaultdict(list)
    for key in carrying:
        if outcomes[key].grade != "exact":
            reasons[outcomes[key].why].append(key)
    for why, keys in sorted(reasons.items()):
        yield f"  not exact ({len(keys)}): {why}: {' '.join(keys)}"
    estimated = sum(outcomes[key].why in (NO_USAGE, ESTIMATED, UNSTATED) for key in silent)
    left = len(silent) - estimated
    yield f"{len(silent)} bill and carry no usage: {estimated} metered at an estimate, {left} refused."
    yield f"{len(recordings) - len(carrying) - len(silent)} bill nothing."


def _foreign(recording: "Recording | SessionRecording") -> str:
    return f"provider '{recording.provider}': format not spoken yet"
