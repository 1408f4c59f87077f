"""
Read OpenAI's image generations and edits, and its relatives'.

Its one job: what an image call asks for, and what its answer or its events report.
Rules: only models that report tokens are let through, or all where answers state money: what a DALL·E answer cost was
not in it, and the models and their endpoint of variations are retired (openai-python 3.57.0, ImageModel). A stream's
last event has the usage; partial images are in its tokens. Sources: wire_formats.md §1.1; openai-python 3.57.0's types.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal  # noqa: TC003 - annotates an attribute
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import flag, model_of, read_object
from penia_proxy.wire.call import Call, Reading, Request
from penia_proxy.wire.content import text_of
from penia_proxy.wire.families import OPENAI, Family
from penia_proxy.wire.multipart import is_form, read_form
from penia_proxy.wire.openai_usage import Parts, cost_of, image_usage_of, response_usage_of, usage_of
from penia_proxy.wire.reported import count_in, json_of


class ImageReader:
    """Reads generated images, whole or as events."""

    def __init__(self, family: Family = OPENAI) -> None:
        self._family = family
        self._parts: Parts = ()
        self._cost: Decimal | None = None
        self._finished = False
        self._failed = False

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        self._take(answer)

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if isinstance(event, dict):
            self._finished = self._finished or str(event.get("type")).endswith(".completed")
            self._failed = self._failed or event.get("type") == "error"
            self._take(event)
        return True

    def reading(self) -> Reading:
        return Reading(
            parts=self._parts,
            complete=bool(self._parts),
            finished=self._finished,
            failed=self._failed,
            cost_usd=self._cost,
        )

    def _take(self, answer: Mapping[str, Any]) -> None:
        if answer.get("error"):
            self._failed = True
        report = answer.get("usage")
        self._cost = cost_of(report, self._family) if isinstance(report, dict) else self._cost
        usage = image_usage_of(report) or usage_of(report, self._family)
        if usage is None:
            if self._cost is not None:
                self._parts = ((None, Usage()),)  # xAI states money and nothing else
            return
        authored = answer.get("svg_usage")
        writing = response_usage_of(authored)
        parts: Parts = ((None, usage),)
        if writing is not None and isinstance(authored, dict) and isinstance(authored.get("model"), str):
            # A vector image is written as text, by a model of its own, whose reasoning is what only the total has.
            hidden = max(0, count_in(authored, "total_tokens") - writing.total)
            parts = (*parts, (authored["model"], replace(writing, reasoning=hidden)))
        self._parts = parts


def images_call(request: Request, family: Family = OPENAI) -> Call:
    """Return the call. Raises InvalidRequest, also for a model whose answers do not say what they cost."""
    members: dict[str, Any]
    if is_form(request.content_type):
        form = read_form(request.body, request.content_type, ("model", "prompt", "stream"))
        members = {**form.values, "stream": form.values.get("stream", "").strip().lower() in ("true", "1")}
    else:
        members = read_object(request.body)
    model = model_of(members)
    if not family.cost_at and "gpt-image" not in model and "chatgpt-image" not in model:
        raise InvalidRequest(
            "Only image models that report their tokens are metered (gpt-image-…): what this one costs is not said."
        )
    return Call(
        operation=request.operation,
        model=model,
        stream=flag(members, "stream"),
        size=Size(
            text_bytes=len(request.body),
            unbounded_why="an image's tokens depend on its quality, and nothing in the request bounds them",
        ),
        body=request.body,
        text=lambda: text_of(members.get("prompt")),
    )
