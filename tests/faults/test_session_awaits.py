"""
A session that is interrupted at each wait of its tasks, one after another.

Rule: whatever was interrupted where, nothing stays held, each turn that began is booked once, and what the provider has
said to have billed, and Penia has read, is booked at that.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from penia_proxy.app import Gateway
from penia_proxy.errors import StoreUnavailable
from penia_proxy.gateway.proxy import Proxy
from penia_proxy.ledger.moves import Append, Reserve
from penia_proxy.ledger.writer import Writer
from tests.faults.interrupting import Do, early, failing, interrupting, late, watching
from tests.faults.table import Rounds
from tests.gateways import Running, Start
from tests.http.test_sessions import LIVE, REALTIME, opened
from tests.peers import speaking

WAITS_MAX = 300
OPEN = "Proxy.open"
"""What carries a session's handshake and the session itself; aiohttp makes its task, without asking the loop."""

TASKS = ["_Carried._upward", "_Carried._downward", "_Carried._watch", "_Carried._read", "Turns.book", "Turns.close"]
FINISH = {"name": "Strict", "daily_limit": 100, "enforcement": "block"}
TIGHT = {"name": "Tight", "daily_limit": 100, "enforcement": "block", "overrun": "truncate"}
USAGE = {
    "input_tokens": 10,
    "output_tokens": 20,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 0, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 20, "audio_tokens": 0},
}
TURN_NANOS = 10 * 4_000 + 20 * 16_000
"""gpt-realtime: $4 and $16 a million of text (genai-prices 0.2.3)."""
ASIDE_NANOS = 60 * 100_000
"""whisper-1: $0.0001 a second."""
LONG = "word " * 2_000
"""Counted in a thread: there is a wait for it."""
WRITTEN = "conversation.item.input_audio_transcription.completed"


class Realtime:
    """Answers each request twice, once unasked and at the same time, and writes down what it heard."""

    path = REALTIME
    asks: ClassVar[tuple[dict[str, Any], ...]] = (
        {"type": "response.create"},
        {"type": "response.create", "response": {"conversation": "none"}},
    )
    turn_nanos = TURN_NANOS
    greeting: ClassVar[dict[str, Any]] = {
        "type": "session.created",
        "session": {
            "type": "realtime",
            "model": "gpt-realtime",
            "audio": {"input": {"transcription": {"model": "whisper-1"}}},
        },
    }

    @staticmethod
    def answer(number: int, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return what is said to a question."""
        usage = {"type": "duration", "seconds": 60}
        yield {"type": WRITTEN, "item_id": f"item_{number}", "content_index": 0, "usage": usage}
        names = [f"resp_{number}_{which}" for which in "ab"]
        conversation = None if "response" in asked else "conv"
        for name in names:
            yield {"type": "response.created", "response": {"id": name, "conversation_id": conversation}}
        for name in names:
            yield {"type": "response.output_audio_transcript.delta", "response_id": name, "delta": LONG}
        for name in names:
            yield {"type": "response.done", "response": {"id": name, "status": "completed", "usage": USAGE}}

    @staticmethod
    def said(events: list[dict[str, Any]]) -> tuple[int, int, int]:
        """Return how many turns were billed, how many began and were not, and how many transcripts were billed."""
        said = Counter(event["type"] for event in events)
        return said["response.done"], said["response.created"] - said["response.done"], said[WRITTEN]


class Breaking(Realtime):
    """Breaks off in each answer; what has passed is counted when the session has ended."""

    @staticmethod
    def answer(number: int, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return what is said to a question."""
        said = list(Realtime.answer(number, asked))
        yield from said[:3]
        yield {**said[3], "delta": LONG[:-1]}


class Live:
    """Is interrupted in each answer, and says what only the one after it costs."""

    path = LIVE
    asks: ClassVar[tuple[dict[str, Any], ...]] = (
        {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "hi"}]}], "turnComplete": True}},
    )
    turn_nanos = 10 * 500 + 20 * 2_000
    """gemini-live-2.5-flash: $0.5 and $2 a million of text."""
    greeting: ClassVar[dict[str, Any]] = {"setupComplete": {}}
    setup: ClassVar[dict[str, Any]] = {
        "setup": {"model": "models/gemini-live-2.5-flash", "generationConfig": {"responseModalities": ["TEXT"]}}
    }

    @staticmethod
    def answer(number: int, _: object) -> Iterator[dict[str, Any]]:
        """Return what is said to a question."""
        made = {"modelTurn": {"parts": [{"text": f"{number} {LONG}"}]}}
        yield {"serverContent": {**made, "interrupted": True}}
        usage = {
            "promptTokenCount": 10,
            "responseTokenCount": 20,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
            "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 20}],
        }
        yield {"serverContent": {**made, "turnComplete": True}, "usageMetadata": usage}

    @staticmethod
    def said(events: list[dict[str, Any]]) -> tuple[int, int, int]:
        """Return how many turns were billed, how many began and were not, and how many transcripts were billed."""
        return (
            sum("usageMetadata" in event for event in events),
            sum("interrupted" in event.get("serverContent", {}) for event in events),
            0,
        )


Talk = type[Realtime] | type[Live]


class Provider:
    """Says what a talk says."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.asked = 0
        self.socket: web.WebSocketResponse | None = None

    async def speak(self, socket: web.WebSocketResponse) -> None:
        """Greet, then answer until the caller closes."""
        self.socket = socket
        with suppress(ConnectionError):
            await socket.send_str(json.dumps(self.talk.greeting))
            async for message in socket:
                if message.type is WSMsgType.CLOSE:
                    await socket.close()
                elif message.type is WSMsgType.TEXT and (asked := json.loads(message.data)).keys() != {"setup"}:
                    self.asked += 1
                    for said in self.talk.answer(self.asked, asked):
                        await socket.send_str(json.dumps(said))
                    if self.talk is Breaking:
                        await socket.close()

    def hang_up(self) -> None:
        """Be gone without a word."""
        if self.socket is not None and self.socket._req is not None and self.socket._req.transport is not None:
            self.socket._req.transport.abort()


class Kept(NamedTuple):
    """What the books say of one turn, or of a transcript."""

    model: str
    basis: str
    cost: int


class Caller:
    """Opens sessions, and looks at what became of each."""

    def __init__(self, penia: Running, provider: Provider) -> None:
        self.penia = penia
        self.provider = provider
        self.socket: Any = None

    async def talk(self) -> None:
        """Have all questions answered, and leave."""
        talk = self.provider.talk
        with suppress(aiohttp.ClientError, ConnectionError):
            async with opened(self.penia, talk.path) as self.socket:
                if talk is Live:
                    await self.socket.send_str(json.dumps(Live.setup))
                billed = due = 0
                for asked in talk.asks:
                    await self.socket.send_str(json.dumps(asked))
                    due += len([said for said in talk.answer(0, asked) if talk.said([said])[0]])
                while billed < due or talk is Breaking:
                    message = await self.socket.receive()
                    if message.type is not WSMsgType.TEXT:
                        return
                    event = json.loads(message.data)
                    if event.get("type") == "error":
                        return
                    billed += talk.said([event])[0]

    def hang_up(self) -> None:
        """Be gone without a word."""
        if self.socket is not None and self.socket._response.connection is not None:
            self.socket._response.connection.transport.abort()

    async def settled(self) -> None:
        """Wait until the session is over, and check that nothing of it is left."""
        gateway = self.penia.gateway
        async with asyncio.timeout(10):
            while gateway._proxy._door.calls or gateway.ledger.queue_depth:
                await asyncio.sleep(0.001)
        assert gateway.ledger.holds_open == 0
        assert gateway._proxy._sockets.running == 0
        tallies = gateway.counters._tallies.values()
        assert [tally for tally in tallies if tally.held_nanos] == []
        left = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}
        assert not left & {*TASKS}

    def booked(self) -> list[Kept]:
        """Return what the file says."""
        with closing(sqlite3.connect(self.penia.gateway.config.ledger.url.removeprefix("sqlite:///"))) as file:
            return [
                Kept(*row)
                for row in file.execute("SELECT model, cost_basis, cost_nanos FROM usage_records ORDER BY seq")
            ]


@contextmanager
def overhearing(caller: Caller) -> Iterator[list[dict[str, Any]]]:
    """Keep the events of the provider that Penia has read."""
    events: list[dict[str, Any]] = []
    receive = aiohttp.ClientWebSocketResponse.receive

    async def heard(socket: Any, *told: Any) -> Any:
        message = await receive(socket, *told)
        if socket is not caller.socket and message.type is WSMsgType.TEXT and isinstance(message.data, bytes):
            events.append(json.loads(message.data))
        return message

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(aiohttp.ClientWebSocketResponse, "receive", heard)
        yield events


async def round_of(caller: Caller, name: str, plan: dict[int, Do], *, in_one: bool = True) -> int:
    """
    Have a session that is interrupted; check what must be true of any; return its waits.

    ``in_one``: one budget has seen all of it.
    """
    before = caller.booked()
    watched = watching(Proxy, "open", plan) if name == OPEN else interrupting(name, plan)
    with overhearing(caller) as events, watched as waits:
        await caller.talk()
        await caller.settled()
    kept = caller.booked()[len(before) :]
    check(caller.provider.talk, kept, events, plan)
    total = sum(one.cost for one in (*before, *kept))
    spent = {tally.spent_nanos for tally in caller.penia.gateway.counters._tallies.values()}
    assert not in_one or spent <= {0, total}, plan
    return waits.seen


def check(talk: Talk, kept: list[Kept], events: list[dict[str, Any]], plan: object) -> None:
    """Compare what was booked with what was said."""
    billed, running, written = talk.said(events)
    assert [one.cost for one in kept if one.model == "whisper-1"] == [ASIDE_NANOS] * written, plan
    turns = [one for one in kept if one.model != "whisper-1"]
    assert [one.cost for one in turns if one.basis == "reported"] == [talk.turn_nanos] * billed, (plan, turns)
    others = [one.cost for one in turns if one.basis != "reported"]
    assert all(cost > 0 for cost in others), (plan, turns)
    asked = 2 * len(talk.asks)  # each may begin two
    assert running <= len(others) <= max(running, asked) + 1, (plan, turns, running)


@asynccontextmanager
async def before(start: Start, talk: Talk, budget: dict[str, Any]) -> AsyncIterator[Caller]:
    """Run a gateway before a provider of sessions."""
    provider = Provider(talk)
    async with speaking(provider.speak) as peer:
        penia = await start(
            budgets=(budget,), providers={name: {"base_url": peer.url} for name in ("openai", "google")}
        )
        yield Caller(penia, provider)


def gone(caller: Caller, when: Do) -> Do:
    """Return what cancels the whole session, as a caller's leaving or a stop does."""

    def do(_: object, future: Any) -> None:
        for task in caller.penia.gateway._proxy._door._inside:
            when(task, future)

    return do


def hung_up(caller: Caller, *, upstream: bool, when: Do) -> Do:
    hang_up = caller.provider.hang_up if upstream else caller.hang_up

    class Side:
        cancel = staticmethod(hang_up)

    return lambda _, future: when(Side, future)  # type: ignore[arg-type]


WAYS: dict[str, Callable[[Caller], Do]] = {
    "cancelled": partial(gone, when=early),
    "cancelled late": partial(gone, when=late),
    "caller gone": partial(hung_up, upstream=False, when=early),
    "provider gone": partial(hung_up, upstream=True, when=late),
    "failing": lambda _: failing(StoreUnavailable("the ledger cannot write")),
}


GONE = ("cancelled", "cancelled late", "provider gone")


@pytest.mark.fault("C1")
@pytest.mark.parametrize(
    ("talk", "budget", "name", "way"),
    [
        *((Realtime, TIGHT, name, way) for name in (OPEN, *TASKS[:2]) for way in GONE[1:]),
        *((Live, FINISH, name, way) for name in TASKS[:2] for way in GONE[:2]),
        *((Breaking, FINISH, name, way) for name in (OPEN, "Turns.close") for way in GONE[:2]),
        (Realtime, TIGHT, OPEN, "caller gone"),
        (Realtime, TIGHT, TASKS[0], "failing"),
    ],
)
async def test_a_session_that_is_interrupted_at_any_wait(
    start: Start, talk: Talk, budget: dict[str, Any], name: str, way: str, rounds: Rounds
) -> None:
    """A side leaves, a stop ends it, or what is waited for fails."""
    async with before(start, talk, budget) as caller:
        for at in range(1, WAITS_MAX):
            if await round_of(caller, name, {at: WAYS[way](caller)}) < at:
                break
        else:
            pytest.fail("it waits for ever")
    assert at > 1
    rounds(at)


@pytest.mark.fault("D1")
@pytest.mark.parametrize(("talk", "budget"), [(Realtime, TIGHT), (Live, FINISH)])
async def test_a_ledger_that_fails_at_any_move_of_a_session(
    start: Start, monkeypatch: pytest.MonkeyPatch, talk: Talk, budget: dict[str, Any], rounds: Rounds
) -> None:
    """A hold or a bill that cannot be written once: it is refused, or tried again, and nothing is lost."""
    submit = Writer.submit
    async with before(start, talk, budget) as caller:
        for at in range(1, WAITS_MAX):
            moves = 0

            def failing_once(writer: Writer, move: Any, at: int = at) -> "asyncio.Future[Any]":
                nonlocal moves
                moves += isinstance(move, Reserve | Append)
                if moves != at or not isinstance(move, Reserve | Append):
                    return submit(writer, move)
                failed = asyncio.get_running_loop().create_future()
                failed.set_exception(StoreUnavailable("the ledger cannot write"))
                return failed

            monkeypatch.setattr(Writer, "submit", failing_once)
            await round_of(caller, TASKS[0], {})
            if moves < at:
                break
        else:
            pytest.fail("it writes for ever")
    assert at > 2
    rounds(at)


@pytest.mark.fault("K9")
async def test_a_stop_at_any_wait_of_a_session(start: Start, rounds: Rounds) -> None:
    """In a hurry: what ran is booked as far as it came, in the file that the stop leaves behind."""
    stops: list[asyncio.Task[None]] = []
    hurry = asyncio.Event()
    hurry.set()
    for at in range(2, WAITS_MAX, 9):
        async with before(start, Realtime, FINISH) as caller:
            gateway = caller.penia.gateway

            def stop(*_: object, its: Gateway = gateway) -> None:
                stops.append(asyncio.create_task(its.stop(hurry)))

            with overhearing(caller) as events, interrupting("_Carried._downward", {at: stop}) as waits:
                await caller.talk()
                if waits.seen >= at:
                    await stops[-1]
            if waits.seen < at:
                break
            check(Realtime, caller.booked(), events, at)
    else:
        pytest.fail("it waits for ever")
    assert len(stops) > 1
    rounds(len(stops))


@pytest.mark.fault("R1")
@pytest.mark.parametrize("change", ["deleted", "reloaded"])
async def test_a_budget_or_a_configuration_that_goes_while_a_turn_runs(
    start: Start, change: str, rounds: Rounds
) -> None:
    """At any wait: the turn is booked as it began, and nothing stays held in what is gone."""
    async with before(start, Realtime, TIGHT) as caller:
        gateway = caller.penia.gateway
        for at in range(1, WAITS_MAX, 4):
            (budget,) = gateway.book.active
            changes: list[asyncio.Task[Any]] = []

            def do(*_: object, made: list[asyncio.Task[Any]] = changes, its: str = budget.budget_id) -> None:
                if change == "deleted":
                    made.append(asyncio.create_task(caller.penia.api("DELETE", f"/api/v1/budgets/{its}")))
                    return
                proxy = gateway._proxy
                proxy.take({"google": proxy._upstreams["google"]}, proxy._pricing._prices, proxy._server)

            upstreams = gateway._proxy._upstreams
            seen = await round_of(caller, "_Carried._downward", {at: do}, in_one=change != "deleted")
            await asyncio.gather(*changes)
            gateway._proxy.take(upstreams, gateway._proxy._pricing._prices, gateway._proxy._server)
            if seen < at:
                break
            if change == "deleted":
                assert not gateway.book.active
                status, _ = await caller.penia.api("POST", "/api/v1/budgets", {**TIGHT, "name": f"Tight {at}"})
                assert status == 201
        else:
            pytest.fail("it waits for ever")
    assert at > 2
    rounds(at)


@pytest.mark.fault("C1")
async def test_a_session_that_is_cancelled_twice(start: Start, rounds: Rounds) -> None:
    """Its caller leaves, and a stop ends what that has left: all is booked as if either had come alone."""
    async with before(start, Realtime, TIGHT) as caller:
        for at in range(1, WAITS_MAX):
            ways = [
                {at: gone(caller, one), at + 1: gone(caller, other)} for one, other in ((early, late), (late, early))
            ]
            if max([await round_of(caller, OPEN, way) for way in ways]) < at:
                break
        else:
            pytest.fail("it waits for ever")
    assert at > 1
    rounds(2 * at)
