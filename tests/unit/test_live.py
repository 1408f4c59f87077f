"""The live hub, without sockets and without waiting: the clock, the states and the pauses are the tests' own."""

import asyncio
import gc
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penia_proxy.errors import TooManyClients
from penia_proxy.watch.audience import Filter
from penia_proxy.watch.feeds import Event, Log, Ring
from penia_proxy.watch.live import LiveHub, LiveLimits
from tests.frames import messages_in

ALL = ["budget_updates", "alerts", "usage"]


class StillClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


class States:
    """Budgets whose spend is a number that tests set."""

    def __init__(self, *budget_ids: str) -> None:
        self.spent = dict.fromkeys(budget_ids, 0)
        self.reads = 0
        self.failing = 0

    async def of(self, budget_id: str) -> dict[str, Any] | None:
        self.reads += 1
        if self.failing:
            self.failing -= 1
            raise OSError("counters are away")
        if budget_id not in self.spent:
            return None
        return {"budget_id": budget_id, "name": budget_id, "daily": {"spent": self.spent[budget_id]}}

    def ids(self) -> list[str]:
        return list(self.spent)


async def pause(_seconds: float) -> None:
    """No pause: a hub that flushes by itself would only make the tests guess."""
    await asyncio.Event().wait()


class Ear:
    """A line to somebody who takes what is written only where a test says so."""

    def __init__(self, *, deaf: bool = True) -> None:
        self.deaf = deaf
        self.heard: list[bytes] = []
        self.ended: list[int] = []

    def write(self, frames: bytes) -> None:
        self.heard.append(frames)

    def waiting(self) -> int:
        return int(self.deaf)

    def end(self, code: int) -> None:
        self.ended.append(code)


class Listener:
    """A client of a hub, and its ear."""

    def __init__(self, hub: LiveHub, *, deaf: bool = True) -> None:
        self.hub = hub
        self.ear = Ear(deaf=deaf)
        self.client = hub.join(self.ear)

    async def hear(self, text: bytes) -> bool:
        return await self.hub.hear(self.client, text)


async def no_alerts(_count: int) -> list[dict[str, Any]]:
    return []


def hub_of(states: States, clock: StillClock | None = None, **limits: Any) -> LiveHub:
    return LiveHub(states.of, states.ids, no_alerts, clock or StillClock(), limits=LiveLimits(**limits), sleep=pause)


async def say(listener: Listener, kind: str, **members: Any) -> bool:
    return await listener.hear(orjson.dumps({"type": kind, **members}))


def waiting(listener: Listener) -> list[dict[str, Any]]:
    """Take everything that waits for a client, in order."""
    messages = []
    while (batch := listener.client.take())[0]:
        messages += messages_in(batch[0])
    return messages


def kinds(client: Listener) -> list[str]:
    return [message["type"] for message in waiting(client)]


async def test_a_subscription_begins_with_a_snapshot() -> None:
    """Whoever subscribes is told so, and then where every active budget stands."""
    hub = hub_of(States("b_1", "b_2"))
    client = Listener(hub)
    assert await say(client, "subscribe", channels=ALL)

    subscribed, snapshot = waiting(client)

    assert subscribed["type"] == "subscribed"
    assert subscribed["channels"] == sorted(ALL)
    assert subscribed["replayed"] is False
    assert [state["budget_id"] for state in snapshot["data"]["budgets"]] == ["b_1", "b_2"]
    assert {subscribed["epoch"], snapshot["epoch"]} == {hub.epoch}


async def test_a_client_that_has_not_subscribed_hears_nothing() -> None:
    """Joining alone subscribes to nothing."""
    hub = hub_of(States("b_1"))
    client = Listener(hub)
    hub.usage({}, ["b_1"], "rhetor")
    hub.touch(["b_1"])
    await hub.flush()

    assert waiting(client) == []


async def test_updates_to_one_budget_are_merged_and_the_last_state_arrives() -> None:
    """Any number of touches between two flushes is one update, with the state after the last of them."""
    states = States("b_1")
    hub = hub_of(states)
    client = Listener(hub)
    await say(client, "subscribe", channels=["budget_updates"])
    waiting(client)
    states.reads = 0
    for spent in range(1, 101):
        states.spent["b_1"] = spent
        hub.touch(["b_1"])
    await hub.flush()

    (update,) = waiting(client)

    assert update["type"] == "budget_update"
    assert update["data"]["daily"] == {"spent": 100}
    assert states.reads == 1


async def test_a_slow_client_keeps_one_update_per_budget() -> None:
    """What waits for a client that does not read is the latest state of each budget, and nothing older."""
    states = States("b_1", "b_2")
    hub = hub_of(states)
    client = Listener(hub)
    await say(client, "subscribe", channels=["budget_updates"])
    waiting(client)
    for spent in range(1, 51):
        for budget_id in states.spent:
            states.spent[budget_id] = spent
            hub.touch([budget_id])
            await hub.flush()

    messages = waiting(client)

    assert [(one["data"]["budget_id"], one["data"]["daily"]["spent"]) for one in messages] == [("b_1", 50), ("b_2", 50)]


async def test_usage_that_does_not_fit_becomes_a_gap_with_its_count() -> None:
    """A client that lags loses usage events, is told how many, and hears the next ones again."""
    hub = hub_of(States(), replay_max=3)
    client = Listener(hub)
    await say(client, "subscribe", channels=["usage"])
    waiting(client)
    for number in range(10):
        hub.usage({"record_id": f"r_{number}"}, [], "rhetor")

    messages = waiting(client)

    assert [one["type"] for one in messages] == ["gap", "usage", "usage", "usage"]
    assert messages[0]["data"] == {"channel": "usage", "missed": 7}
    assert [one["data"]["record_id"] for one in messages[1:]] == ["r_7", "r_8", "r_9"]
    for number in range(4):
        hub.usage({"record_id": f"r_{number}"}, [], "rhetor")
    again = waiting(client)
    assert [one["type"] for one in again] == ["gap", "usage", "usage", "usage"]
    assert again[0]["data"]["missed"] == 1


def test_what_is_no_longer_kept_is_freed_at_once() -> None:
    """A feed holds no event that its ring has let go of, so that memory is bounded by the rings alone."""
    ring, everything, odd = Ring(8, 1_000_000), Log[str](Filter()), Log[str](Filter())
    for seq in range(1, 16):
        feeds = [everything, odd] if seq % 2 else [everything]
        event = Event(seq, "usage", "", (), "freed at once", b"{}")
        for feed in feeds:
            feed.add(event)
        for gone in ring.add(event):
            everything.evict(gone)
            odd.evict(gone)
            del gone

    living = sorted(one.seq for one in gc.get_objects() if isinstance(one, Event) and one.component == "freed at once")

    assert living == list(range(8, 16))
    assert [one.seq for one in everything.after(0)] == living
    assert [one.seq for one in odd.after(0)] == [9, 11, 13, 15]


async def test_a_slow_client_does_not_slow_another() -> None:
    """One client's full queue changes nothing for the next."""
    hub = hub_of(States(), replay_max=2)
    slow, quick = Listener(hub), Listener(hub)
    for client in (slow, quick):
        await say(client, "subscribe", channels=["usage"])
        waiting(client)
    heard = []
    for _ in range(20):
        hub.usage({}, [], "rhetor")
        heard += kinds(quick)

    assert heard == ["usage"] * 20
    assert kinds(slow) == ["gap", "usage", "usage"]


async def test_since_replays_exactly_what_was_missed() -> None:
    """A client that names the last message it saw hears everything after it, and no snapshot."""
    states = States("b_1")
    hub = hub_of(states)
    first = Listener(hub)
    await say(first, "subscribe", channels=ALL)
    seen = waiting(first)[-1]["seq"]
    hub.leave(first.client)
    hub.usage({"record_id": "r_1"}, ["b_1"], "rhetor")
    hub.touch(["b_1"])
    await hub.flush()
    hub.usage({"record_id": "r_2"}, ["b_1"], "rhetor")

    again = Listener(hub)
    await say(again, "subscribe", channels=ALL, since={"epoch": hub.epoch, "seq": seen})
    messages = waiting(again)

    assert [one["type"] for one in messages] == ["subscribed", "usage", "budget_update", "usage"]
    assert messages[0]["replayed"] is True
    assert [one["seq"] for one in messages] == sorted({one["seq"] for one in messages})


@pytest.mark.parametrize("since", ["other epoch", "future", "too old"])
async def test_since_that_cannot_be_replayed_is_a_snapshot(since: str) -> None:
    """Another epoch, a seq that was never given and one that is no longer kept are each answered with a snapshot."""
    hub = hub_of(States("b_1"), replay_max=4)
    first = Listener(hub)
    await say(first, "subscribe", channels=ALL)
    seen = waiting(first)[-1]["seq"]
    for _ in range(5):
        hub.usage({}, [], "rhetor")
    named = {
        "other epoch": {"epoch": "live_0", "seq": seen + 5},
        "future": {"epoch": hub.epoch, "seq": seen + 6},
        "too old": {"epoch": hub.epoch, "seq": seen},
    }[since]

    client = Listener(hub)
    await say(client, "subscribe", channels=ALL, since=named)

    assert kinds(client) == ["subscribed", "snapshot"]
    kept = Listener(hub)
    await say(kept, "subscribe", channels=ALL, since={"epoch": hub.epoch, "seq": seen + 3})
    assert kinds(kept)[0] == "subscribed"
    assert "snapshot" not in kinds(kept)


async def test_what_nobody_heard_cannot_be_replayed() -> None:
    """After a time without clients nothing is kept, and a client from before gets a snapshot instead of a hole."""
    clock = StillClock()
    states = States("b_1")
    hub = hub_of(states, clock, replay_s=60)
    client = Listener(hub)
    await say(client, "subscribe", channels=ALL)
    seen = waiting(client)[-1]["seq"]
    hub.leave(client.client)
    clock.seconds += 61
    states.reads = 0

    assert not hub.listening
    hub.usage({}, ["b_1"], "rhetor")
    hub.touch(["b_1"])
    await hub.flush()
    assert states.reads == 0
    again = Listener(hub)
    await say(again, "subscribe", channels=ALL, since={"epoch": hub.epoch, "seq": seen})
    assert kinds(again) == ["subscribed", "snapshot"]


async def test_a_hub_nobody_ever_joined_reads_and_keeps_nothing() -> None:
    """Without clients, an event costs no state and no memory."""
    states = States("b_1")
    hub = hub_of(states)
    for _ in range(100):
        hub.usage({}, ["b_1"], "rhetor")
        hub.touch(["b_1"])
    await hub.flush()

    assert (states.reads, [*hub._rings["usage"], *hub._states], hub._touched) == (0, [], {})


async def test_filters_narrow_a_channel() -> None:
    """Budgets narrow both channels, components narrow usage, and each channel has its own filter."""
    hub = hub_of(States("b_1", "b_2"))
    client = Listener(hub)
    await say(client, "subscribe", channels=["budget_updates"], budgets=["b_2"])
    await say(client, "subscribe", channels=["usage"], components=["apollo"])
    waiting(client)
    hub.touch(["b_1", "b_2"])
    await hub.flush()
    hub.usage({"n": 1}, ["b_1"], "rhetor")
    hub.usage({"n": 2}, ["b_1"], "apollo")

    update, usage = waiting(client)

    assert update["data"]["budget_id"] == "b_2"
    assert usage["data"] == {"n": 2}


async def test_who_has_left_is_not_asked_any_more() -> None:
    """Leaving, muting and subscribing anew leave nothing behind of what a client listened to before."""
    hub = hub_of(States("b_1"))
    client, other = Listener(hub), Listener(hub)
    for budgets in (["b_1"], ["b_2"], None):
        await say(client, "subscribe", channels=["usage"], **({"budgets": budgets} if budgets else {}))
    await say(other, "subscribe", channels=["usage"])
    await say(other, "unsubscribe")
    assert [feed.wanted for feed in hub.audience.of("usage", ["b_1"], "rhetor")] == [Filter()]
    assert len(hub._feeds) == 1

    hub.leave(client.client)

    assert not hub.audience.of("usage", ["b_1"], "rhetor")
    assert not hub._feeds


async def test_a_snapshot_shows_the_budgets_asked_for() -> None:
    """A filter by budget narrows the snapshot; a budget that does not exist is simply not in it."""
    hub = hub_of(States("b_1", "b_2"))
    client = Listener(hub)
    await say(client, "subscribe", channels=["budget_updates"], budgets=["b_2", "b_none"])

    assert [state["budget_id"] for state in waiting(client)[-1]["data"]["budgets"]] == ["b_2"]


async def test_unsubscribing_ends_a_channel_and_what_waits_of_it() -> None:
    """After `unsubscribed` nothing of that channel comes, not even what waited; the others go on."""
    hub = hub_of(States("b_1"), replay_max=1)
    client = Listener(hub)
    await say(client, "subscribe", channels=["usage", "budget_updates"])
    waiting(client)
    hub.usage({}, [], "rhetor")
    await say(client, "unsubscribe", channels=["usage"])
    hub.usage({}, [], "rhetor")
    hub.touch(["b_1"])
    await hub.flush()

    messages = waiting(client)

    assert [one["type"] for one in messages] == ["unsubscribed", "budget_update"]
    assert messages[0]["channels"] == ["budget_updates"]
    await say(client, "subscribe", channels=["usage"])
    waiting(client)
    hub.usage({}, [], "rhetor")
    assert kinds(client) == ["usage"]
    await say(client, "unsubscribe")
    hub.usage({}, [], "rhetor")
    assert kinds(client) == ["unsubscribed"]


@pytest.mark.parametrize(
    "text",
    [
        b"secret nonsense",
        b"[]",
        b"{}",
        b'"secret"',
        b'{"type": "secret"}',
        b'{"type": "subscribe"}',
        b'{"type": "subscribe", "channels": []}',
        b'{"type": "subscribe", "channels": ["secret"]}',
        b'{"type": "subscribe", "channels": ["usage"], "secret": 1}',
        b'{"type": "subscribe", "channels": ["usage"], "since": {"epoch": "e", "seq": -1}}',
        b'{"type": "subscribe", "channels": ["usage"], "budgets": []}',
        b'{"type": "ping", "x": ' + b"[" * 3000,
    ],
)
async def test_nonsense_is_answered_and_changes_nothing(text: bytes) -> None:
    """A malformed message gets an `error` that does not repeat it, and the client stays."""
    hub = hub_of(States())
    client = Listener(hub)

    assert await client.hear(text)
    (error,) = waiting(client)
    assert error["type"] == "error"
    assert error["error"]
    assert "secret nonsense" not in error["error"]
    hub.usage({}, [], "rhetor")
    assert waiting(client) == []


async def test_too_much_nonsense_sends_a_client_away() -> None:
    """A client may err, but not for ever; its errors do not pile up while it does not read."""
    hub = hub_of(States(), errors_max=3)
    client = Listener(hub)

    assert [await client.hear(b"?") for _ in range(4)] == [True, True, True, False]
    assert len(waiting(client)) == 1


async def test_a_ping_is_answered() -> None:
    """`ping` gets `pong`, with epoch and seq as every message."""
    hub = hub_of(States())
    client = Listener(hub)
    await say(client, "ping")

    (pong,) = waiting(client)

    assert pong == {"type": "pong", "seq": pong["seq"], "epoch": hub.epoch}


async def test_two_subscriptions_of_one_client_have_two_snapshots() -> None:
    """Who subscribes to one channel after another is shown both, however late it reads."""
    hub = hub_of(States("b_1"))
    client = Listener(hub)
    for channel in ("budget_updates", "alerts"):
        await say(client, "subscribe", channels=[channel])

    *_, budgets, alerts = [one["data"] for one in waiting(client) if one["type"] == "snapshot"]

    assert [one["budget_id"] for one in budgets["budgets"]] == ["b_1"]
    assert alerts == {"alerts": []}


async def test_who_has_not_heard_the_snapshot_gets_another_one() -> None:
    """A line that breaks between `subscribed` and `snapshot` is no position to go on from."""
    hub = hub_of(States("b_1"))
    client = Listener(hub)
    await say(client, "subscribe", channels=ALL)
    welcome = waiting(client)[0]
    hub.leave(client.client)

    again = Listener(hub)
    await say(again, "subscribe", channels=ALL, since={"epoch": hub.epoch, "seq": welcome["seq"]})

    assert kinds(again) == ["subscribed", "snapshot"]


async def test_a_client_that_only_talks_grows_nothing() -> None:
    """However often a client asks without reading, one answer of each kind waits."""
    hub = hub_of(States("b_1"))
    client = Listener(hub)
    for _ in range(100):
        await say(client, "ping")
        await say(client, "subscribe", channels=ALL)
        await say(client, "unsubscribe")

    assert sorted(kinds(client)) == ["pong", "snapshot", "subscribed", "unsubscribed"]


async def test_places_are_bounded_and_given_back() -> None:
    """One client too many is refused; one that left makes room, and leaving twice is leaving once."""
    hub = hub_of(States(), clients_max=2)
    first, _second = Listener(hub), Listener(hub)

    with pytest.raises(TooManyClients):
        Listener(hub)
    hub.leave(first.client)
    hub.leave(first.client)
    assert hub.client_count == 1
    Listener(hub)


async def test_a_state_that_cannot_be_read_is_told_later() -> None:
    """A failing read loses no update: the budget stays touched."""
    states = States("b_1")
    hub = hub_of(states)
    client = Listener(hub)
    await say(client, "subscribe", channels=["budget_updates"])
    waiting(client)
    states.failing = 1
    hub.touch(["b_1"])
    await hub.flush()

    assert waiting(client) == []
    await hub.flush()
    assert kinds(client) == ["budget_update"]


async def test_a_snapshot_is_never_older_than_an_update_before_it() -> None:
    """While a snapshot is read no update is told, so the last word about a budget is its latest state."""
    states = States("b_1", "b_2")
    going = asyncio.Event()

    async def slowly(budget_id: str) -> dict[str, Any] | None:
        state = await states.of(budget_id)
        if budget_id == "b_2":
            await going.wait()
        return state

    hub = LiveHub(slowly, states.ids, no_alerts, StillClock(), sleep=pause)
    client = Listener(hub)
    subscribing = asyncio.create_task(say(client, "subscribe", channels=ALL))
    while states.reads < 2:
        await asyncio.sleep(0)
    states.spent["b_1"] = 7
    hub.touch(["b_1"])
    flushing = asyncio.create_task(hub.flush())
    await asyncio.sleep(0)
    going.set()
    await asyncio.gather(subscribing, flushing)

    messages = waiting(client)

    assert [one["type"] for one in messages] == ["subscribed", "snapshot", "budget_update"]
    assert messages[-1]["data"]["daily"] == {"spent": 7}


async def test_the_hub_flushes_by_itself() -> None:
    """A touch is told after one pause of `coalesce_s`, without anybody's help."""
    pauses: list[float] = []
    states = States("b_1")

    async def no_time(seconds: float) -> None:
        pauses.append(seconds)

    hub = LiveHub(states.of, states.ids, no_alerts, StillClock(), sleep=no_time)
    client = Listener(hub, deaf=False)
    await say(client, "subscribe", channels=["budget_updates"])
    hub.touch(["b_1"])
    while len(messages := messages_in(b"".join(client.ear.heard))) < 3:
        await asyncio.sleep(0)

    assert [one["type"] for one in messages] == ["subscribed", "snapshot", "budget_update"]
    assert pauses == [0.1]
    await hub.close()


async def test_closing_sends_everyone_away() -> None:
    """Everybody is told to go, once, and nobody is let in any more."""
    hub = hub_of(States())
    client = Listener(hub)
    await hub.close()
    await hub.close()

    assert client.ear.ended == [1001]
    assert hub.client_count == 0
    with pytest.raises(TooManyClients):
        Listener(hub)


_STEP = st.one_of(
    st.tuples(st.just("usage"), st.sampled_from(["rhetor", "apollo"])),
    st.tuples(st.just("touch"), st.sampled_from(["b_1", "b_2"])),
    st.tuples(st.sampled_from(["raise", "dismiss"]), st.sampled_from(["a_1", "a_2"])),
    st.tuples(st.sampled_from(["flush", "read", "ping", "subscribe", "nonsense", "drop", "return"]), st.just("")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_STEP, max_size=60), st.sampled_from([1, 400, 65_536]), st.sampled_from([2, 1000]))
def test_who_drops_and_returns_ends_with_what_the_other_has(
    steps: list[tuple[str, str]], batch_bytes: int, replay_max: int
) -> None:
    """
    Whatever happens in whatever order, messages have growing seqs, and both end up knowing everything.

    Everything is every state, every open alert, and every call of which no gap and no snapshot has said that it is
    missing.
    """
    asyncio.run(_play(steps, batch_bytes, replay_max))


class Knowing:
    """A client that keeps what it is told as docs/live.md says, and comes back where it was."""

    def __init__(self, hub: LiveHub) -> None:
        self.hub = hub
        self.listener: Listener | None = None
        self.spent: dict[str, int] = {}
        self.alerts: set[str] = set()
        self.usage: list[int] = []
        self.missed = 0
        self.since: dict[str, Any] | None = None
        self.seqs: list[int] = []

    async def come(self) -> None:
        self.listener = Listener(self.hub)
        await say(self.listener, "subscribe", channels=ALL, **({"since": self.since} if self.since else {}))

    def drop(self) -> None:
        if self.listener is not None:
            self.hub.leave(self.listener.client)
            self.listener = None

    def read(self) -> bool:
        """Take a batch; return whether there was one."""
        messages = messages_in(self.listener.client.take()[0]) if self.listener else []
        for message in messages:
            self._take(message)
        return bool(messages)

    def _take(self, message: dict[str, Any]) -> None:
        kind, data = message["type"], message.get("data")
        if kind == "subscribed":
            self.missed += self.since is not None and not message["replayed"]
        else:
            self.seqs.append(message["seq"])
        self.since = {"epoch": message["epoch"], "seq": message["seq"]}
        if kind == "snapshot":
            if "budgets" in data:
                self.spent = {state["budget_id"]: state["daily"]["spent"] for state in data["budgets"]}
            if "alerts" in data:
                self.alerts = {alert["alert_id"] for alert in data["alerts"]}
        elif kind == "budget_update":
            self.spent[data["budget_id"]] = data["daily"]["spent"]
        elif kind == "usage":
            self.usage.append(data["number"])
        elif kind == "alert":
            (self.alerts.discard if data["is_dismissed"] else self.alerts.add)(data["alert_id"])
        elif kind == "gap":
            self.missed += data["channel"] == "usage"
            assert data["missed"]


class World:
    """What happens, and two who listen."""

    def __init__(self, batch_bytes: int, replay_max: int) -> None:
        self.states = States("b_1", "b_2")
        self.alerts: set[str] = set()
        self.all_kept = replay_max > 2  # else a gap of alerts asks for a new subscription
        limits = LiveLimits(replay_max=replay_max, batch_bytes=batch_bytes, errors_max=1000)
        self.hub = LiveHub(self.states.of, self.states.ids, self.open_alerts, StillClock(), limits=limits, sleep=pause)
        self.steady, self.restless = Knowing(self.hub), Knowing(self.hub)
        self.made = 0

    async def open_alerts(self, _count: int) -> list[dict[str, Any]]:
        return [{"alert_id": name, "budget_id": None, "is_dismissed": False} for name in self.alerts]

    def happens(self, kind: str, what: str) -> None:
        if kind == "usage":
            self.made += 1
            self.hub.usage({"number": self.made}, [], what)
        elif kind == "touch":
            self.states.spent[what] += 1
            self.hub.touch([what])
        elif kind in ("raise", "dismiss") and self.all_kept:
            (self.alerts.add if kind == "raise" else self.alerts.discard)(what)
            self.hub.alert({"alert_id": what, "is_dismissed": kind == "dismiss"}, None)

    async def done(self, kind: str) -> None:
        restless = self.restless
        if kind == "flush":
            await self.hub.flush()
        elif kind == "read":
            self.steady.read()
            restless.read()
        elif kind == "drop":
            restless.drop()
        elif kind == "return" and restless.listener is None:
            await restless.come()
        elif kind in ("ping", "nonsense") and restless.listener:
            await say(restless.listener, kind)
        elif kind == "subscribe" and self.steady.listener:
            await say(self.steady.listener, "subscribe", channels=["budget_updates"])


async def _play(steps: list[tuple[str, str]], batch_bytes: int, replay_max: int) -> None:
    world = World(batch_bytes, replay_max)
    steady, restless = world.steady, world.restless
    await steady.come()
    for kind, what in steps:
        world.happens(kind, what)
        await world.done(kind)
    if restless.listener is None:
        await restless.come()
    await world.hub.flush()
    for one in (steady, restless):
        while one.read():
            pass
        assert one.seqs == sorted(set(one.seqs))
        assert one.spent == world.states.spent
        assert one.alerts == world.alerts
        made = list(range(1, world.made + 1))
        assert one.usage == made[world.made - len(one.usage) :] or one.missed
        assert one.usage == sorted(set(one.usage))
    assert steady.missed or len(steady.usage) == world.made
    await world.hub.close()
