"""
Keep OpenAI's files, and work through its batches.

Rules: a batch's requests are answered as they would be alone, when it is made; they are billed at batch prices, once.
What of a batch is ready is shown as it is read (see `work`). A line that cannot be answered is in the error file and
not billed. Sources: the ``openai`` SDK's ``types/batch.py`` and ``types/file_object.py``, and recorded answers for the
order of keys.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from penia_proxy.sandbox import embeddings, openai, openai_chat, openai_completions, openai_responses
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question
from penia_proxy.sandbox.batches import Desk
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import derive, identifier
from penia_proxy.sandbox.work import Work

DAY_S = 86_400

_ENDPOINTS: Mapping[str, Callable[[Question], Answer]] = {
    "/v1/chat/completions": openai_chat.answer,
    "/v1/completions": openai_completions.answer,
    "/v1/embeddings": embeddings.answer,
    "/v1/responses": openai_responses.answer,
}

_STATUSES = {
    "queued": "validating",
    "running": "in_progress",
    "done": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file, an upload or a batch's results."""

    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def as_object(self) -> dict[str, Any]:
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.name,
            "bytes": len(self.content),
            "created_at": self.created,
            "expires_at": None,
            "status": "processed",
            "status_details": None,
        }


def upload(question: Question) -> Answer:
    """Keep a file. Raises Refused."""
    given = question.upload
    purpose = question.body.get("purpose")
    if given is None or not isinstance(purpose, str):
        raise Refused(400, "'file' and 'purpose' are required.", param="file")
    seed = question.store.fresh(question.seed)
    file = _File(identifier("file-", seed, 22), given.name, purpose, given.content, openai.created(seed))
    question.store.keep(file.id, file)
    return _said(question, file.as_object())


def file(question: Question) -> Answer:
    """Describe a file. Raises Refused."""
    return _said(question, question.store.get(question.values[0], _File).as_object())


def delete_file(question: Question) -> Answer:
    """Forget a file. Raises Refused."""
    (name,) = question.values
    question.store.drop(name, _File)
    return _said(question, {"object": "file", "id": name, "deleted": True})


def content(question: Question) -> Answer:
    """Send what is in a file. Raises Refused."""
    kept = question.store.get(question.values[0], _File)
    headers = openai.headers(question.seed, "application/octet-stream")
    return Answer(
        status=200,
        headers=[*headers, ("content-disposition", f'attachment; filename="{kept.name}"')],
        pieces=[Piece(kept.content)],
        request_id=openai.request_id(question.seed),
    )


def create(question: Question) -> Answer:
    """Take a batch on. Raises Refused."""
    body = question.body
    endpoint = body.get("endpoint")
    if endpoint not in _ENDPOINTS:
        raise Refused(400, f"'endpoint' is one of {', '.join(_ENDPOINTS)}.", param="endpoint", code="invalid_value")
    requests = _lines(question.store.get(str(body.get("input_file_id")), _File))
    made = _Batch(question, question.store.fresh(question.seed), requests)
    question.store.keep(made.id, made)
    return replace(_said(question, made.as_object()), later=made.charges)


def retrieve(question: Question) -> Answer:
    """Show how far a batch is. Raises Refused."""
    batch = question.store.get(question.values[0], _Batch)
    batch.look()
    return _said(question, batch.as_object())


def cancel(question: Question) -> Answer:
    """Stop a batch. Raises Refused."""
    batch = question.store.get(question.values[0], _Batch)
    batch.cancel()
    return _said(question, batch.as_object())


class _Batch(Work):
    """One batch: all its lines are answered when it begins, and shown when it is done."""

    def __init__(self, question: Question, seed: bytes, requests: list[Mapping[str, Any]]) -> None:
        self._body = question.body
        self._total = len(requests)
        self._created = openai.created(seed)
        self._model: str | None = None
        self.id = f"batch_{derive(seed, 'batch').hex()[:32]}"
        desk = Desk(question, seed, ask=_ENDPOINTS[self._body["endpoint"]], error=openai.error)
        lines: dict[bool, list[bytes]] = {True: [], False: []}
        for index, request in enumerate(requests):
            line = self._answered(desk, request, derive(seed, index))
            lines[line["response"]["status_code"] == 200].append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._completed = len(lines[True])
        self._output = self._results(question, seed, "output", lines[True])
        self._errors = self._results(question, seed, "error", lines[False])
        self._tokens = [charge.tokens for charge in desk.charges]
        super().__init__(desk.charges, polls=question.behaviour.polls, fails=question.behaviour.fails)

    def as_object(self) -> dict[str, Any]:
        """Return the batch as the API shows it now."""
        done, began = self.state == "done", self.state != "queued"
        at = self._created
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self._body["endpoint"],
            "model": self._model if done else None,
            "errors": None,
            "input_file_id": self._body["input_file_id"],
            "completion_window": self._body.get("completion_window") or "24h",
            "status": _STATUSES[self.state],
            "output_file_id": self._output if done else None,
            "error_file_id": self._errors if done else None,
            "created_at": at,
            "in_progress_at": at + 1 if began else None,
            "expires_at": at + DAY_S,
            "finalizing_at": at + 2 if done else None,
            "completed_at": at + 3 if done else None,
            "failed_at": at + 3 if self.state == "failed" else None,
            "expired_at": None,
            "cancelling_at": at + 2 if self.state == "cancelled" else None,
            "cancelled_at": at + 3 if self.state == "cancelled" else None,
            "request_counts": {
                "total": self._total if began else 0,
                "completed": self._completed if done else 0,
                "failed": self._total - self._completed if done else 0,
            },
            "usage": _sum(self._tokens if done else []),
            "metadata": self._body.get("metadata"),
        }

    def _answered(self, desk: Desk, request: Mapping[str, Any], seed: bytes) -> dict[str, Any]:
        """Return one line of the results."""
        endpoint = self._body["endpoint"]
        refused = None
        if request.get("url") != endpoint:
            refused = Refused(400, f"The batch is for {endpoint}.", param="url", code="mismatched_url")
        answer, said = desk.answer(request["body"], f"{self.id}/{request.get('custom_id')}", refused=refused)
        self._model = answer.served_model or self._model
        return {
            "id": f"batch_req_{derive(seed, 'line').hex()[:32]}",
            "custom_id": request.get("custom_id"),
            "response": {"status_code": answer.status, "request_id": answer.request_id, "body": said},
            "error": None,
        }

    def _results(self, question: Question, seed: bytes, what: str, lines: list[bytes]) -> str | None:
        if not lines:
            return None
        name = f"{self.id}_{what}.jsonl"
        file_id = identifier("file-", derive(seed, what), 22)
        question.store.keep(file_id, _File(file_id, name, "batch_output", b"".join(lines), self._created))
        return file_id


def _lines(file: _File) -> list[Mapping[str, Any]]:
    """Return a batch's requests. Raises Refused."""
    found: list[Mapping[str, Any]] = []
    for number, line in enumerate(file.content.splitlines(), 1):
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("body"), dict):
            raise Refused(400, f"Line {number} is not a request.", param="input_file_id", code="invalid_json_line")
        found.append(request)
    if not found:
        raise Refused(400, "The file has no requests.", param="input_file_id", code="empty_file")
    return found


def _sum(counted: list[Tokens]) -> dict[str, Any]:
    given = sum(tokens.input + tokens.cache_read + tokens.cache_write_5m for tokens in counted)
    made = sum(tokens.produced for tokens in counted)
    return {
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": given + made,
        "input_tokens_details": {"cached_tokens": sum(tokens.cache_read for tokens in counted)},
        "output_tokens_details": {"reasoning_tokens": sum(tokens.reasoning for tokens in counted)},
    }


def _said(question: Question, said: Mapping[str, Any]) -> Answer:
    return openai.json_answer(question.seed, said, NO_TOKENS, model=None, tier=None)
