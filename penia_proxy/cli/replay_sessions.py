"""
Play recorded sessions, for ``penia replay``.

Its one job: one recorded session through a whole gateway, its frames in the order in which they were recorded, and its
records against the bills that the file expects.
Rules: as in `penia_proxy.cli.replay`. What the file expects, and no more, must have been booked; and each frame must
arrive as it was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    import aiohttp

    from penia_proxy.sandbox.recordings import SessionRecording

Grade = Literal["exact", "explained", "wrong"]

TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")

PATHS = {
    "google": "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    "azure": "/openai/v1/realtime?model={model}",
    "azure-voice-live": "/voice-live/realtime?model={model}",
}
"""Where a session is opened; the recordings do not say."""

PATH = "/v1/realtime?model={model}"

UNSTATED = "the provider bills sound by the second and states none: booked at what passed, where the file has nothing"
UNSTATED_TRANSCRIPT = "a transcript without usage: booked at the seconds that were said, where the file has nothing"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one exchange or session came out, and why if it is not exact."""

    grade: Grade
    why: str = ""


async def replay_session(session: "aiohttp.ClientSession", url: str, recording: "SessionRecording") -> Outcome:
    """Play a session and compare."""
    import aiohttp

    from penia_proxy.sandbox.recordings import REPLAY_ID

    component = f"replay-{recording.key}"
    headers = {REPLAY_ID: recording.key, "X-Penia-Component": component}
    path = PATHS.get(recording.provider, PATH).format(model=quote(recording.model, safe=""))
    try:
        async with session.ws_connect(f"{url}/{recording.provider}{path}", headers=headers, max_msg_size=0) as socket:
            for by_client, said in recording.frames:
                if by_client:
                    await socket.send_str(said.decode())
                    continue
                message = await socket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return Outcome("wrong", f"the session was closed: {message.extra or message.data}")
                if message.data not in (said, said.decode()):
                    return Outcome("wrong", "a frame that arrived is not the one recorded")
    except aiohttp.WSServerHandshakeError as error:
        return Outcome("wrong", f"status {error.status}, recorded as a session")
    async with session.get(f"{url}/api/v1/usage/records?component={component}&limit=100") as answer:
        records = (await answer.json())["items"]
    return judge_session(records, recording.expected["events"])


def judge_session(records: list[Mapping[str, Any]], events: list[Mapping[str, Any]]) -> Outcome:
    """Compare the records of a session with its expected bills, in whatever order."""
    left = list(records)
    unstated = ""
    for event in events:
        found = next((record for record in left if _is(record, event)), None)
        if found is None and not any(event["usage"].get(name) for name in TOKENS):
            found = next((record for record in left if _is_by_sound(record)), None)
            unstated = UNSTATED
        if found is None:
            return Outcome("wrong", f"no record of {event['event']} {event.get('id', '')}")
        left.remove(found)
    if not all(map(_is_by_sound, left)):
        return Outcome("wrong", f"{len(left)} records beyond the expected")
    why = unstated or (UNSTATED_TRANSCRIPT if left else "")
    return Outcome("explained", why) if why else Outcome("exact")


def _is(record: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    if any(record[name] != event["usage"].get(name, 0) for name in TOKENS):
        return False
    cost = event.get("cost_usd")
    if cost is None or record["cost"] is None:
        return cost is None and record["cost"] is None
    return abs(Decimal(repr(record["cost"])) - Decimal(cost)) <= Decimal("0.5e-9")


def _is_by_sound(record: Mapping[str, Any]) -> bool:
    """Whether it was booked at what passed, and has no tokens: what bills seconds."""
    return record["cost_basis"] == "estimated" and not record["total_tokens"]
