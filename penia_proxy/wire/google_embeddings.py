"""
Read Google's embeddings: ``embedContent``, ``batchEmbedContents``, and Vertex's ``predict`` of embedding models.

Its one job: what these calls ask for and what their answers report.
Rules: many answers carry no usage and are settled at an estimate. ``predict`` also runs models that are billed by the
image or the second; what is not known to make embeddings is refused. Source: wire_formats.md §1.3.
"""

import re
from collections.abc import Mapping
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import UnmeteredRoute
from penia_proxy.wire.body import read_object
from penia_proxy.wire.call import Call, Reading
from penia_proxy.wire.content import dicts
from penia_proxy.wire.google_content import media_in, member, text_in
from penia_proxy.wire.google_usage import usage_of
from penia_proxy.wire.reported import count_in

_EMBEDS_TEXT = re.compile(r"(text-embedding-|textembedding-gecko|text-multilingual-embedding-|gemini-embedding-)")
"""Models whose ``predict`` reports ``statistics.token_count``."""


def embedding_call(operation: str, model: str, body: bytes) -> Call:
    """Return the call. Raises InvalidRequest, and UnmeteredRoute for a ``predict`` that is no embedding of text."""
    members = read_object(body)
    if operation == "predict":
        if not _EMBEDS_TEXT.match(model):
            raise UnmeteredRoute("Only text embeddings can be metered on ':predict', so this model is not forwarded.")
        asked = dicts(members.get("instances"))
        size = Size(text_bytes=len(body), messages=len(asked), no_output=True)
        return Call(operation, model, stream=False, size=size, body=body, text=text_in(members, "instances"))
    asked = [members] if operation == "embedContent" else dicts(member(members, "requests"))
    contents = [content for one in asked for content in _contents(member(one, "content"))]
    media = media_in(contents)
    size = Size(
        text_bytes=len(body) - media.image_bytes,
        images=media.images,
        image_tokens_max=image_tokens_max("google", model) if media.images else 0,
        messages=len(asked),
        beyond_body=media.beyond_body,
        no_output=True,
        audio=media.beyond_body,
    )
    return Call(operation, model, stream=False, size=size, body=body, text=text_in(members, "content", "requests"))


class EmbeddingReader:
    """Reads an answer of vectors."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._failed = False

    def document(self, answer: Mapping[str, Any]) -> None:
        self._failed = bool(answer.get("error"))
        self._usage = _predicted(answer) if "predictions" in answer else usage_of(answer.get("usageMetadata"))

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - embeddings do not stream
        return True

    def reading(self) -> Reading:
        return Reading(
            parts=() if self._usage is None else ((None, self._usage),),
            complete=self._usage is not None,
            finished=True,
            failed=self._failed,
        )


def _predicted(answer: Mapping[str, Any]) -> Usage | None:
    """Return the sum of the predictions' own counts, None where one has none."""
    total = 0
    for prediction in dicts(answer.get("predictions")):
        embeddings = prediction.get("embeddings")
        statistics = embeddings.get("statistics") if isinstance(embeddings, dict) else None
        if not isinstance(statistics, dict) or "token_count" not in statistics:
            return None
        total += count_in(statistics, "token_count")
    return Usage(input=total)


def _contents(content: object) -> list[dict[str, Any]]:
    return [content] if isinstance(content, dict) else []
