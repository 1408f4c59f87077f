"""
Work through Anthropic's message batches.

Rules: a batch's requests are answered as they would be alone, when it is made; they are billed at batch prices, once,
and their usage says ``service_tier: batch``. Where the results are is said with a full URL, as the API does: its SDK
fetches them from there. Sources: the ``anthropic`` SDK's ``types/messages``, and recorded answers for the order of
keys.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from penia_proxy.sandbox import anthropic, anthropic_messages, openai
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question, objects_in
from penia_proxy.sandbox.batches import Desk
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import identifier
from penia_proxy.sandbox.work import Work

_TIER = "batch"


def create(question: Question) -> Answer:
    """Take a batch on. Raises Refused."""
    requests = objects_in(question.body, "requests")
    if not requests or not all(isinstance(request.get("params"), Mapping) for request in requests):
        raise Refused(400, "requests: a list of at least one request with 'params'")
    batch = _Batch(question, question.store.fresh(question.seed), requests)
    question.store.keep(batch.id, batch)
    return replace(_shown(question, batch), later=batch.charges)


def retrieve(question: Question) -> Answer:
    """Show how far a batch is. Raises Refused."""
    batch = question.store.get(question.values[0], _Batch)
    batch.look()
    return _shown(question, batch)


def cancel(question: Question) -> Answer:
    """Stop a batch. Raises Refused."""
    batch = question.store.get(question.values[0], _Batch)
    batch.cancel()
    return _shown(question, batch)


def results(question: Question) -> Answer:
    """Send the results, a line each. Raises Refused."""
    batch = question.store.get(question.values[0], _Batch)
    if not batch.ended:
        raise Refused(404, "The batch has not ended; there are no results yet.")
    name = f"attachment; filename*=utf-8''{batch.id}_results.jsonl"
    return Answer(
        status=200,
        headers=[*anthropic.headers(question.seed, "application/x-jsonl"), ("content-disposition", name)],
        pieces=[Piece(line) for line in batch.lines],
        streamed=True,
        request_id=anthropic.request_id(question.seed),
    )


class _Batch(Work):
    """One batch: all its requests are answered when it begins, and shown when it has ended."""

    def __init__(self, question: Question, seed: bytes, requests: list[Mapping[str, Any]]) -> None:
        self.id = identifier("msgbatch_01", seed, 22)
        self._created = datetime.fromtimestamp(openai.created(seed), UTC)
        self._total = len(requests)
        desk = Desk(question, seed, ask=anthropic_messages.answer, error=anthropic.error, tier=_TIER)
        self._made = [_line(request, self._answered(desk, request)) for request in requests]
        self._unmade = [_line(request, {"type": "canceled"}) for request in requests]
        self._succeeded = len(desk.charges)
        super().__init__(desk.charges, polls=question.behaviour.polls)

    @property
    def lines(self) -> list[bytes]:
        """The results."""
        return self._unmade if self.state == "cancelled" else self._made

    def as_object(self, origin: str) -> dict[str, Any]:
        """Return the batch as the API shows it now."""
        done, cancelled = self.state == "done", self.state == "cancelled"
        ended = self._created + timedelta(seconds=3)
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": "ended" if self.ended else "in_progress",
            "request_counts": {
                "processing": 0 if self.ended else self._total,
                "succeeded": self._succeeded if done else 0,
                "errored": self._total - self._succeeded if done else 0,
                "canceled": self._total if cancelled else 0,
                "expired": 0,
            },
            "ended_at": ended.isoformat() if self.ended else None,
            "created_at": self._created.isoformat(),
            "expires_at": (self._created + timedelta(days=1)).isoformat(),
            "archived_at": None,
            "cancel_initiated_at": ended.isoformat() if cancelled else None,
            "results_url": f"{origin}/v1/messages/batches/{self.id}/results" if self.ended else None,
        }

    def _answered(self, desk: Desk, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return one result."""
        answer, said = desk.answer(request["params"], f"{self.id}/{request.get('custom_id')}")
        if answer.status != 200:
            return {"type": "errored", "error": said}
        if isinstance(said.get("usage"), dict):
            said["usage"] |= {"service_tier": _TIER, "inference_geo": "not_available"}
        return {"type": "succeeded", "message": said}


def _line(request: Mapping[str, Any], result: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"custom_id": request.get("custom_id"), "result": result}) + b"\n"


def _shown(question: Question, batch: _Batch) -> Answer:
    said = batch.as_object(question.origin)
    return anthropic.json_answer(question.seed, said, NO_TOKENS, model=None, tier=None)
