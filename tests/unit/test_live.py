"""The live hub, without sockets and without waiting: the clock, the states and the pauses are the tests' own."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penia_proxy.errors import TooManyClients
from penia_proxy.watch.live import LiveClient, LiveHub, LiveLimits

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


def hub_of(states: States, clock: StillClock | None = None, **limits: Any) -> LiveHub:
    return LiveHub(states.of, states.ids, clock or StillClock(), limits=LiveLimits(**limits), sleep=pause)


async def say(client: LiveClient, kind: str, **members: Any) -> bool:
    return await client.hear(orjson.dumps({"type": kind, **members}))


def waiting(client: LiveClient) -> list[dict[str, Any]]:
    """Take everything that waits for a client, in order."""

    async def take() -> list[dict[str, Any]]:
        return [orjson.loads(await client.next() or b"null") for _ in range(len(client._waiting))]

    run = take()
    try:
        run.send(None)
    except StopIteration as done:
        messages: list[dict[str, Any]] = done.value
        return messages
    raise AssertionError("next() waited although something was there")


def kinds(client: LiveClient) -> list[str]:
    return [message["type"] for message in waiting(client)]


async def test_a_subscription_begins_with_a_snapshot() -> None:
    """Whoever subscribes is told so, and then where every active budget stands."""
    hub = hub_of(States("b_1", "b_2"))
    client = hub.join()
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
    client = hub.join()
    hub.usage({}, ["b_1"], "rhetor")
    hub.touch(["b_1"])
    await hub.flush()

    assert waiting(client) == []


async def test_updates_to_one_budget_are_merged_and_the_last_state_arrives() -> None:
    """Any number of touches between two flushes is one update, with the state after the last of them."""
    states = States("b_1")
    hub = hub_of(states)
    client = hub.join()
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
    client = hub.join()
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
    hub = hub_of(States(), usage_queue_max=3)
    client = hub.join()
    await say(client, "subscribe", channels=["usage"])
    waiting(client)
    for number in range(10):
        hub.usage({"record_id": f"r_{number}"}, [], "rhetor")

    messages = waiting(client)

    assert [one["type"] for one in messages] == ["usage", "usage", "usage", "gap"]
    assert messages[-1]["data"] == {"channel": "usage", "missed": 7}
    for number in range(4):
        hub.usage({"record_id": f"r_{number}"}, [], "rhetor")
    again = waiting(client)
    assert [one["type"] for one in again] == ["usage", "usage", "usage", "gap"]
    assert again[-1]["data"]["missed"] == 1


async def test_a_slow_client_does_not_slow_another() -> None:
    """One client's full queue changes nothing for the next."""
    hub = hub_of(States(), usage_queue_max=2)
    slow, quick = hub.join(), hub.join()
    for client in (slow, quick):
        await say(client, "subscribe", channels=["usage"])
        waiting(client)
    heard = []
    for _ in range(20):
        hub.usage({}, [], "rhetor")
        heard += kinds(quick)

    assert heard == ["usage"] * 20
    assert kinds(slow) == ["usage", "usage", "gap"]


async def test_since_replays_exactly_what_was_missed() -> None:
    """A client that names the last message it saw hears everything after it, and no snapshot."""
    states = States("b_1")
    hub = hub_of(states)
    first = hub.join()
    await say(first, "subscribe", channels=ALL)
    seen = waiting(first)[-1]["seq"]
    hub.leave(first)
    hub.usage({"record_id": "r_1"}, ["b_1"], "rhetor")
    hub.touch(["b_1"])
    await hub.flush()
    hub.usage({"record_id": "r_2"}, ["b_1"], "rhetor")

    again = hub.join()
    await say(again, "subscribe", channels=ALL, since={"epoch": hub.epoch, "seq": seen})
    messages = waiting(again)

    assert [one["type"] for one in messages] == ["subscribed", "usage", "budget_update", "usage"]
    assert messages[0]["replayed"] is True
    assert [one["seq"] for one in messages] == sorted({one["seq"] for one in messages})


@pytest.mark.parametrize("since", ["other epoch", "future", "too old"])
async def test_since_that_cannot_be_replayed_is_a_snapshot(since: str) -> None:
    """Another epoch, a seq that was never given and one that is no longer kept are each answered with a snapshot."""
    hub = hub_of(States("b_1"), replay_max=4)
    first = hub.join()
    await say(first, "subscribe", channels=ALL)
    seen = waiting(first)[-1]["seq"]
    for _ in range(5):
        hub.usage({}, [], "rhetor")
    named = {
        "other epoch": {"epoch": "live_0", "seq": seen + 5},
        "future": {"epoch": hub.epoch, "seq": seen + 6},
        "too old": {"epoch": hub.epoch, "seq": seen},
    }[since]

    client = hub.join()
    await say(client, "subscribe", channels=ALL, since=named)

    assert kinds(client) == ["subscribed", "snapshot"]
    kept = hub.join()
    await say(kept, "subscribe", channels=ALL, since={"epoch": hub.epoch, "seq": seen + 3})
    assert kinds(kept)[0] == "subscribed"
    assert "snapshot" not in kinds(kept)


async def test_what_nobody_heard_cannot_be_replayed() -> None:
    """After a time without clients nothing is kept, and a client from before gets a snapshot instead of a hole."""
    clock = StillClock()
    states = States("b_1")
    hub = hub_of(states, clock, replay_s=60)
    client = hub.join()
    await say(client, "subscribe", channels=ALL)
    seen = waiting(client)[-1]["seq"]
    hub.leave(client)
    clock.seconds += 61
    states.reads = 0

    assert not hub.listening
    hub.usage({}, ["b_1"], "rhetor")
    hub.touch(["b_1"])
    await hub.flush()
    assert states.reads == 0
    again = hub.join()
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

    assert (states.reads, len(hub._ring), hub._touched) == (0, 0, {})


async def test_filters_narrow_a_channel() -> None:
    """Budgets narrow both channels, components narrow usage, and each channel has its own filter."""
    hub = hub_of(States("b_1", "b_2"))
    client = hub.join()
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
    client, other = hub.join(), hub.join()
    for budgets in (["b_1"], ["b_2"], None):
        await say(client, "subscribe", channels=["usage"], **({"budgets": budgets} if budgets else {}))
    await say(other, "subscribe", channels=["usage"])
    await say(other, "unsubscribe")
    assert list(hub.audience.of("usage", ["b_1"], "rhetor")) == [client]

    hub.leave(client)

    assert not hub.audience.of("usage", ["b_1"], "rhetor")


async def test_a_snapshot_shows_the_budgets_asked_for() -> None:
    """A filter by budget narrows the snapshot; a budget that does not exist is simply not in it."""
    hub = hub_of(States("b_1", "b_2"))
    client = hub.join()
    await say(client, "subscribe", channels=["budget_updates"], budgets=["b_2", "b_none"])

    assert [state["budget_id"] for state in waiting(client)[-1]["data"]["budgets"]] == ["b_2"]


async def test_unsubscribing_ends_a_channel_and_what_waits_of_it() -> None:
    """After `unsubscribed` nothing of that channel comes, not even what waited; the others go on."""
    hub = hub_of(States("b_1"), usage_queue_max=1)
    client = hub.join()
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
    client = hub.join()

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
    client = hub.join()

    assert [await client.hear(b"?") for _ in range(4)] == [True, True, True, False]
    assert len(waiting(client)) == 1


async def test_a_ping_is_answered() -> None:
    """`ping` gets `pong`, with epoch and seq as every message."""
    hub = hub_of(States())
    client = hub.join()
    await say(client, "ping")

    (pong,) = waiting(client)

    assert pong == {"type": "pong", "seq": pong["seq"], "epoch": hub.epoch}


async def test_a_client_that_only_talks_grows_nothing() -> None:
    """However often a client asks without reading, one answer of each kind waits."""
    hub = hub_of(States("b_1"))
    client = hub.join()
    for _ in range(100):
        await say(client, "ping")
        await say(client, "subscribe", channels=ALL)
        await say(client, "unsubscribe")

    assert sorted(kinds(client)) == ["pong", "snapshot", "subscribed", "unsubscribed"]


async def test_places_are_bounded_and_given_back() -> None:
    """One client too many is refused; one that left makes room, and leaving twice is leaving once."""
    hub = hub_of(States(), clients_max=2)
    first, _second = hub.join(), hub.join()

    with pytest.raises(TooManyClients):
        hub.join()
    hub.leave(first)
    hub.leave(first)
    assert hub.client_count == 1
    hub.join()


async def test_a_state_that_cannot_be_read_is_told_later() -> None:
    """A failing read loses no update: the budget stays touched."""
    states = States("b_1")
    hub = hub_of(states)
    client = hub.join()
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

    hub = LiveHub(slowly, states.ids, StillClock(), sleep=pause)
    client = hub.join()
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

    hub = LiveHub(states.of, states.ids, StillClock(), sleep=no_time)
    client = hub.join()
    await say(client, "subscribe", channels=["budget_updates"])
    waiting(client)
    hub.touch(["b_1"])

    assert orjson.loads(await client.next() or b"")["type"] == "budget_update"
    assert pauses == [0.1]
    await hub.close()


async def test_closing_sends_everyone_away() -> None:
    """A client that waits for the next message is told that there is none."""
    hub = hub_of(States())
    client = hub.join()
    reading = asyncio.create_task(client.next())
    await asyncio.sleep(0)
    await hub.close()

    assert await reading is None
    assert hub.client_count == 0


_STEP = st.one_of(
    st.tuples(st.just("usage"), st.sampled_from(["rhetor", "apollo"])),
    st.tuples(st.just("touch"), st.sampled_from(["b_1", "b_2"])),
    st.tuples(st.sampled_from(["flush", "read", "ping", "subscribe", "nonsense"]), st.just("")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_STEP, max_size=60))
def test_seq_grows_and_the_last_word_is_the_latest_state(steps: list[tuple[str, str]]) -> None:
    """Whatever happens in whatever order, a client's messages have growing seqs, and it ends up knowing every state."""
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, str]]) -> None:
    states = States("b_1", "b_2")
    hub = hub_of(states, usage_queue_max=2, errors_max=1000)
    client = hub.join()
    await say(client, "subscribe", channels=ALL)
    heard: list[dict[str, Any]] = []
    for kind, what in steps:
        if kind == "usage":
            hub.usage({}, [], what)
        elif kind == "touch":
            states.spent[what] += 1
            hub.touch([what])
        elif kind == "flush":
            await hub.flush()
        elif kind == "read":
            heard += [orjson.loads(await client.next() or b"")] if client._waiting else []
        elif kind == "nonsense":
            await client.hear(b"?")
        else:
            await say(client, kind, **({"channels": ALL} if kind == "subscribe" else {}))
    await hub.flush()
    heard += waiting(client)
    known: dict[str, int] = {}
    for message in heard:
        told = message["data"]["budgets"] if message["type"] == "snapshot" else [message.get("data")]
        if message["type"] in ("snapshot", "budget_update"):
            known.update({state["budget_id"]: state["daily"]["spent"] for state in told})
    await hub.close()

    assert [one["seq"] for one in heard] == sorted({one["seq"] for one in heard})
    assert known == states.spent
