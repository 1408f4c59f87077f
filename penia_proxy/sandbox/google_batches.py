"""
Work through Gemini's batches, whose requests and results are in the objects themselves.

Rules: a batch's requests are answered as they would be alone, when it is made, and billed at batch prices, once; the
results stand twice in the operation, as in the API. Source: recorded answers for names and order of keys; the
``google-genai`` SDK 3.4's ``batches.py`` for the request.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from penia_proxy.sandbox import google, openai
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Question, objects_in
from penia_proxy.sandbox.batches import Desk
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import identifier
from penia_proxy.sandbox.work import Work

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"

_STATES = {
    "queued": "BATCH_STATE_PENDING",
    "running": "BATCH_STATE_RUNNING",
    "done": "BATCH_STATE_SUCCEEDED",
    "failed": "BATCH_STATE_FAILED",
    "cancelled": "BATCH_STATE_CANCELLED",
}


def create(question: Question) -> Answer:
    """Take a batch on. Raises Refused."""
    asked: Any = question.body.get("batch")
    for step in ("inputConfig", "requests"):
        asked = asked.get(step) if isinstance(asked, Mapping) else None
    requests = objects_in(asked, "requests") if isinstance(asked, Mapping) else []
    if not requests:
        raise Refused(400, "* BatchGenerateContentRequest.batch.input_config: requests are not specified")
    batch = _Batch(question, question.store.fresh(question.seed), requests)
    question.store.keep(batch.id, batch)
    return replace(google.json_answer(question.seed, batch.as_object(), NO_TOKENS), later=batch.charges)


def retrieve(question: Question) -> Answer:
    """Show how far a batch is. Raises Refused."""
    batch = question.store.get(question.values[0], _Batch)
    batch.look()
    return google.json_answer(question.seed, batch.as_object(), NO_TOKENS)


def cancel(question: Question) -> Answer:
    """Stop a batch. Raises Refused."""
    question.store.get(question.values[0], _Batch).cancel()
    return google.json_answer(question.seed, {}, NO_TOKENS)


class _Batch(Work):
    """One batch: all its requests are answered when it begins, and shown when it is done."""

    def __init__(self, question: Question, seed: bytes, requests: list[Mapping[str, Any]]) -> None:
        self.id = identifier("", seed, 36).lower()
        (self._model,) = question.values
        batch = question.body["batch"]
        self._display = batch.get("displayName") or "batch"
        self._created = datetime.fromtimestamp(openai.created(seed), UTC)
        self._total = len(requests)
        desk = Desk(question, seed, ask=google.whole, error=google.error)
        self._responses = [self._answered(desk, request, index) for index, request in enumerate(requests)]
        self._succeeded = len(desk.charges)
        super().__init__(desk.charges, polls=question.behaviour.polls, fails=question.behaviour.fails)

    def as_object(self) -> dict[str, Any]:
        """Return the operation as the API shows it now."""
        done = self.state == "done"
        output = {"inlinedResponses": {"inlinedResponses": self._responses}}
        moment = _written(self._created + timedelta(seconds=3) if self.ended else self._created)
        stats = {"requestCount": str(self._total)}
        stats |= {"successfulRequestCount": str(self._succeeded)} if done else {"pendingRequestCount": str(self._total)}
        metadata: dict[str, Any] = {"@type": _TYPE, "model": f"models/{self._model}", "displayName": self._display}
        metadata |= {"output": output} if done else {}
        metadata["createTime"] = _written(self._created)
        metadata |= {"endTime": moment} if self.ended else {}
        name = f"batches/{self.id}"
        metadata |= {"updateTime": moment, "batchStats": stats, "state": _STATES[self.state], "name": name}
        operation: dict[str, Any] = {"name": name, "metadata": metadata}
        if self.ended:
            operation["done"] = True
        if done:
            operation["response"] = {"@type": f"{_TYPE}Output", **output}
        elif self.ended:
            code, why = (1, "The batch was cancelled.") if self.state == "cancelled" else (13, "The batch failed.")
            operation["error"] = {"code": code, "message": why}
        return operation

    def _answered(self, desk: Desk, request: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Return one result."""
        asked = request.get("request")
        answer, said = desk.answer(asked if isinstance(asked, Mapping) else {}, f"{self.id}/{index}")
        if answer.status == 200:
            result = {"response": said}
        else:
            result = {"error": {"code": 3, "message": said["error"]["message"]}}
        return result | ({"metadata": request["metadata"]} if "metadata" in request else {})


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
