"""
Say who is calling.

Its one job: component, tags, task type and request id of one request, from its headers and path.
Rules: the first of ``X-Penia-Component``, ``@component`` and ``default`` that is given counts (keys will come before
them). What a caller names is checked before it is used; a name that is refused is an error, not silently another name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from penia_proxy.errors import InvalidRequest
from penia_proxy.ids import COMPONENT, REQUEST_ID, new_id
from penia_proxy.values import quick

DEFAULT_COMPONENT = "default"
TAGS_MAX = 16
_TAG_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@quick
@dataclass(frozen=True, slots=True)
class Caller:
    """Who one request is attributed to."""

    component: str
    task_type: str | None
    tags: Mapping[str, str]
    request_id: str
    chose_id: bool
    """Whether the caller sent the request id itself: then it is an idempotency key."""


def caller_of(headers: Mapping[str, str], path_component: str | None) -> Caller:
    """Read the attribution. Raises InvalidRequest."""
    component = headers.get("X-Penia-Component") or path_component or DEFAULT_COMPONENT
    if not COMPONENT.fullmatch(component):
        raise InvalidRequest("X-Penia-Component must be 1 to 128 letters, digits, spaces or . _ : / @ + -.")
    task_type = headers.get("X-Penia-Task-Type") or None
    if task_type is not None and not COMPONENT.fullmatch(task_type):
        raise InvalidRequest("X-Penia-Task-Type must be 1 to 128 letters, digits, spaces or . _ : / @ + -.")
    request_id = headers.get("X-Penia-Request-Id")
    if request_id is not None and not REQUEST_ID.fullmatch(request_id):
        raise InvalidRequest("X-Penia-Request-Id must be 1 to 64 letters, digits or . _ : -.")
    tags = tags_of(headers.get("X-Penia-Tags", ""))
    return Caller(component, task_type, tags, request_id or new_id("r"), request_id is not None)


def tags_of(text: str) -> dict[str, str]:
    """Read ``team=search,run=42``. Raises InvalidRequest."""
    tags: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, equals, value = pair.partition("=")
        if not equals or not _TAG_NAME.fullmatch(name) or not COMPONENT.fullmatch(value) or name in tags:
            raise InvalidRequest("X-Penia-Tags must be name=value pairs with commas between, each name once.")
        tags[name] = value
    if len(tags) > TAGS_MAX:
        raise InvalidRequest(f"X-Penia-Tags may have {TAGS_MAX} tags.")
    return tags
