"""
Read what a live client says.

Its one job: the client's half of api.md §3, checked.
Rules: bytes in, a message or a sentence out; nothing of what was sent is quoted back. Knows no socket and no hub.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Channel = Literal["budget_updates", "alerts", "usage"]

NAMES_MAX = 100
"""Budgets or components in one filter."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(min_length=1, max_length=NAMES_MAX)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Since(_Message):
    """The last message a client has seen."""

    epoch: Annotated[str, Field(max_length=64)]
    seq: Annotated[int, Field(ge=0)]


class Subscribe(_Message):
    """Each channel named gets this filter, in place of the one it had; the other channels keep theirs."""

    type: Literal["subscribe"]
    channels: Annotated[list[Channel], Field(min_length=1, max_length=10)]
    budgets: Names | None = None
    components: Names | None = None
    """Narrows usage; a budget is not a component's, so budget updates are narrowed by ``budgets`` alone."""
    since: Since | None = None


class Unsubscribe(_Message):
    """Without channels: all of them."""

    type: Literal["unsubscribe"]
    channels: Annotated[list[Channel], Field(max_length=10)] | None = None


class Ping(_Message):
    type: Literal["ping"]


Message = Annotated[Subscribe | Unsubscribe | Ping, Field(discriminator="type")]
_MESSAGE: TypeAdapter[Subscribe | Unsubscribe | Ping] = TypeAdapter(Message)


class Malformed(Exception):
    """A message that means nothing; ``str`` says why."""


def read(text: str | bytes) -> Subscribe | Unsubscribe | Ping:
    """Return the message. Raises Malformed."""
    try:
        return _MESSAGE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        kind = first["type"]
    if kind == "json_invalid":
        raise Malformed("not JSON")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        raise Malformed("type must be subscribe, unsubscribe or ping")
    # The location starts with the discriminator's value, which the client knows.
    where = ".".join(str(part)[:64] for part in first["loc"][1:])
    raise Malformed(f"{where}: {first['msg']}" if where else "a message is a JSON object with a type")
