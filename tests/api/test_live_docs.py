"""
What docs/live.md shows, against what the server sends.

Its one job: every message shown there is one that a real server has sent in the story that the document tells, figure
by figure, and every message a client is shown to send is understood. Rule: only what differs each time is not compared:
ids, seqs, the epoch.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from aiohttp import ClientWebSocketResponse

from penia_proxy.watch.messages import Channel
from tests.api.client import Api
from tests.api.test_ws import ALL, heard, until

TEXT = (Path(__file__).parents[2] / "docs" / "live.md").read_text()


def shown(side: str) -> Iterator[dict[str, Any]]:
    """Yield the messages of a side, as the document shows them."""
    for block in re.findall(rf"```json {side}\n(.*?)```", TEXT, re.DOTALL):
        at = 0
        while at < len(block.rstrip()):
            message, at = json.JSONDecoder().raw_decode(block, at)
            yield message
            at += len(block[at:]) - len(block[at:].lstrip())


def comparable(value: Any, name: str = "") -> Any:
    """Return a message without what differs each time."""
    if isinstance(value, dict):
        return {key: comparable(member, key) for key, member in value.items()}
    if isinstance(value, list):
        return [comparable(member) for member in value]
    if name in {"seq", "epoch", "pricing_version"} or (name.endswith("_id") and value is not None):
        return type(value).__name__
    return value


async def story(api: Api) -> list[dict[str, Any]]:
    """Return everything that a client hears in the document's story."""
    told: list[dict[str, Any]] = []

    async def hear(live: ClientWebSocketResponse, kind: str) -> dict[str, Any]:
        while (message := await heard(live))["type"] != kind:
            told.append(message)
        told.append(message)
        return message

    budget_id = await api.budget(name="Default", daily_limit=5, weekly_limit=25)
    live = await api.listen()
    await live.send_json({"type": "subscribe", "channels": ALL})
    await hear(live, "snapshot")
    await api.record(cost=2.47, model="gpt-4o", input_tokens=1200, output_tokens=340, tags={"team": "search"})
    await hear(live, "budget_update")
    await api.record(cost=0.1)
    await api.services.alerts.look()
    await hear(live, "alert")
    late = await api.listen()
    await late.send_json({"type": "subscribe", "channels": ["budget_updates", "alerts"]})
    await hear(late, "snapshot")
    await api.put(f"/budgets/{budget_id}", {"daily_limit": 10})
    last = await hear(live, "alert")
    for said, kind in (('{"type": "ping"}', "pong"), ('{"type": "subscribe"}', "error")):
        await live.send_str(said)
        await hear(live, kind)
    await live.send_json({"type": "unsubscribe", "channels": ["usage"]})
    await hear(live, "unsubscribed")
    await live.close()
    again = await api.listen()
    since = {"epoch": last["epoch"], "seq": last["seq"]}
    await again.send_json({"type": "subscribe", "channels": ALL, "since": since})
    await hear(again, "subscribed")
    api.services.hub._rings["usage"]._events_max = 1
    for number in range(3):
        api.services.hub.usage({"record_id": f"r_{number}"}, [], "rhetor")
    await hear(again, "gap")
    return told


async def test_what_the_server_is_shown_to_send_it_sends(api: Api) -> None:
    """Each message of the document is, figure by figure, one of the story; each type of the story is shown."""
    told = await story(api)
    sent = [comparable(message) for message in told]
    documented = list(shown("server"))

    for message in documented:
        assert comparable(message) in sent, json.dumps(message)
    assert {message["type"] for message in documented} == {message["type"] for message in told}


async def test_what_a_client_is_shown_to_say_is_understood(api: Api) -> None:
    """Nothing of it is answered with an error, and every kind of message is shown."""
    live = await api.listen()
    said = list(shown("client"))
    for message in said:
        await live.send_json(message)
        kind = {"subscribe": "subscribed", "unsubscribe": "unsubscribed", "ping": "pong"}[message["type"]]
        await until(live, kind)

    assert {message["type"] for message in said} == {"subscribe", "unsubscribe", "ping"}
    assert {channel for message in said for channel in message.get("channels", ())} == set(get_args(Channel))
