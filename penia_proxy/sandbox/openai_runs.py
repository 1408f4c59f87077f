"""
Run OpenAI's assistants: threads, messages, and the runs that are billed.

Rules: a run is billed once, and its usage is null until it has ended; reading it takes it a step on (see `work`). Of a
message its tokens are kept, not its text. A thread or an assistant that was not made here is an empty one, so that a
run can be asked for alone. Sources: the ``openai`` SDK's ``types/beta``, and recorded answers for the order of keys and
events.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from penia_proxy.sandbox import openai
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question, broken, count_of, model_of, objects_in
from penia_proxy.sandbox.bill import Charge, Tokens
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.openai_input import TOKENS_PER_REQUEST, json_tokens
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.speech import Wish, said
from penia_proxy.sandbox.words import TOKENS_PER_MESSAGE, derive, identifier, tokens_of
from penia_proxy.sandbox.work import Work

MODEL_DEFAULT = "gpt-4o-mini"
"""What an assistant that was not made here uses."""

EXPIRES_S = 600

_STATUSES = {
    "queued": "queued",
    "running": "in_progress",
    "done": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class _Assistant:
    model: str
    instructions: str
    tokens: int


@dataclass(slots=True)
class _Thread:
    tokens: int = 0
    """Of all its messages."""


def assistant(question: Question) -> Answer:
    """Make an assistant. Raises Refused."""
    body, seed = question.body, question.store.fresh(question.seed)
    instructions = str(body.get("instructions") or "")
    name = identifier("asst_", seed, 24)
    size = tokens_of(instructions) + json_tokens(body.get("tools") or [])
    question.store.keep(name, _Assistant(model_of(body), instructions, size))
    made = {
        "id": name,
        "object": "assistant",
        "created_at": openai.created(seed),
        "name": body.get("name"),
        "description": body.get("description"),
        "model": body["model"],
        "instructions": body.get("instructions"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "temperature": 1.0,
        "reasoning_effort": None,
        "tool_resources": {},
        "metadata": body.get("metadata") or {},
        "response_format": "auto",
    }
    return _said(question, made)


def thread(question: Question) -> Answer:
    """Begin a thread, perhaps with messages."""
    seed = question.store.fresh(question.seed)
    name = identifier("thread_", seed, 24)
    question.store.keep(name, _Thread(sum(map(_message_tokens, objects_in(question.body, "messages")))))
    made = {"id": name, "object": "thread", "created_at": openai.created(seed)}
    return _said(question, made | {"metadata": question.body.get("metadata") or {}, "tool_resources": {}})


def message(question: Question) -> Answer:
    """Add a message to a thread."""
    body, seed = question.body, question.store.fresh(question.seed)
    (name,) = question.values
    known = _thread_of(question, name)
    known.tokens += _message_tokens(body)
    question.store.keep(name, known)
    content = body.get("content")
    parts = [{"type": "text", "text": {"value": content, "annotations": []}}] if isinstance(content, str) else content
    made = _message(identifier("msg_", seed, 24), name, openai.created(seed))
    return _said(question, made | {"role": body.get("role"), "content": parts, "attachments": [], "metadata": {}})


def create(question: Question) -> Answer:
    """Start a run, followed as events or not. Raises Refused."""
    run = _Run(question, question.store.fresh(question.seed))
    question.store.keep(run.id, run)
    if question.body.get("stream") is not True:
        return replace(_said(question, run.as_object()), later=run.charges)
    return Answer(
        status=200,
        headers=openai.headers(question.seed, "text/event-stream; charset=utf-8"),
        pieces=run.events(no_end=question.behaviour.no_end),
        streamed=True,
        request_id=openai.request_id(question.seed),
        served_model=run.model,
        later=run.charges,
    )


def retrieve(question: Question) -> Answer:
    """Show how far a run is. Raises Refused."""
    run = question.store.get(question.values[1], _Run)
    run.look()
    return _said(question, run.as_object())


def cancel(question: Question) -> Answer:
    """Stop a run. Raises Refused."""
    run = question.store.get(question.values[1], _Run)
    run.cancel()
    return _said(question, run.as_object())


class _Run(Work):
    """One run of an assistant on a thread."""

    def __init__(self, question: Question, seed: bytes) -> None:
        body = question.body
        self._body = body
        self._seed = seed
        self._fault = question.behaviour.usage
        (self._thread,) = question.values
        self.id = identifier("run_", seed, 24)
        own = _assistant_of(question, str(body.get("assistant_id")))
        self._instructions = str(body.get("instructions") or own.instructions)
        self.model = served_name(str(body.get("model") or own.model))
        extra = sum(map(_message_tokens, objects_in(body, "additional_messages")))
        cap = count_of(body, "max_completion_tokens", 1)
        made = said(question.seed, Wish(cap=cap, length=question.behaviour.output_tokens))
        self._text = made.text
        given = TOKENS_PER_REQUEST + own.tokens + tokens_of(str(body.get("instructions") or "")) + extra
        self._tokens = Tokens(input=given + _thread_of(question, self._thread).tokens, output=made.visible)
        behaviour = question.behaviour
        charge = Charge(key=self.id, served_model=self.model, tokens=self._tokens)
        super().__init__([charge], polls=behaviour.polls, fails=behaviour.fails)

    def as_object(self) -> dict[str, Any]:
        """Return the run as the API shows it now."""
        at = openai.created(self._seed)
        body, state = self._body, self.state
        shown = {
            "id": self.id,
            "object": "thread.run",
            "created_at": at,
            "assistant_id": body.get("assistant_id"),
            "thread_id": self._thread,
            "status": _STATUSES[state],
            "started_at": None if state == "queued" else at + 1,
            "expires_at": None if self.ended else at + EXPIRES_S,
            "cancelled_at": at + 2 if state == "cancelled" else None,
            "failed_at": at + 2 if state == "failed" else None,
            "completed_at": at + 2 if state == "done" else None,
            "required_action": None,
            "last_error": {"code": "server_error", "message": "Something went wrong."} if state == "failed" else None,
            "model": self.model,
            "instructions": self._instructions,
            "tools": body.get("tools") or [],
            "tool_resources": {},
            "metadata": body.get("metadata") or {},
            "temperature": 1.0,
            "top_p": 1.0,
            "reasoning_effort": None,
            "max_completion_tokens": body.get("max_completion_tokens"),
            "max_prompt_tokens": None,
            "truncation_strategy": {"type": "auto", "last_messages": None},
            "incomplete_details": None,
        }
        if self._fault != "omit":
            shown["usage"] = self._usage() if state == "done" and self._fault != "null" else None
        return shown | {"response_format": "auto", "tool_choice": "auto", "parallel_tool_calls": True}

    def events(self, *, no_end: bool) -> Iterator[Piece]:
        """Yield the events of a run that is followed; it ends with them."""
        for name in ("created", "queued"):
            yield _event(f"thread.run.{name}", self.as_object())
        self.state = "running"
        yield _event("thread.run.in_progress", self.as_object())
        name = identifier("msg_", derive(self._seed, "message"), 24)
        opened = _message(name, self._thread, openai.created(self._seed)) | {"run_id": self.id, "role": "assistant"}
        opened |= {"assistant_id": self._body.get("assistant_id"), "content": []}
        yield _event("thread.message.created", opened | {"status": "in_progress"})
        for piece in self._text:
            part = {"index": 0, "type": "text", "text": {"value": piece}}
            delta = {"id": name, "object": "thread.message.delta", "delta": {"content": [part]}}
            yield _event("thread.message.delta", delta)
        whole = {"type": "text", "text": {"value": "".join(self._text), "annotations": []}}
        yield _event("thread.message.completed", opened | {"status": "completed", "content": [whole]})
        self.finish()
        if not no_end:
            yield _event(f"thread.run.{_STATUSES[self.state]}", self.as_object())
            yield Piece(b"event: done\ndata: [DONE]\n\n")

    def _usage(self) -> dict[str, Any]:
        tokens = self._tokens
        usage = {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_token_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
        changed: dict[str, Any] = broken(usage, self._fault)
        return changed


def _assistant_of(question: Question, name: str) -> _Assistant:
    try:
        return question.store.get(name, _Assistant)
    except Refused:
        return _Assistant(MODEL_DEFAULT, "", 0)


def _thread_of(question: Question, name: str) -> _Thread:
    try:
        return question.store.get(name, _Thread)
    except Refused:
        return _Thread()


def _message_tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    return TOKENS_PER_MESSAGE + (tokens_of(content) if isinstance(content, str) else json_tokens(content))


def _message(name: str, thread: str, created: int) -> dict[str, Any]:
    head = {"id": name, "object": "thread.message", "created_at": created, "assistant_id": None}
    return head | {"thread_id": thread, "run_id": None}


def _event(name: str, content: Mapping[str, Any]) -> Piece:
    return Piece(f"event: {name}\ndata: ".encode() + orjson.dumps(content) + b"\n\n")


def _said(question: Question, content: Mapping[str, Any]) -> Answer:
    return openai.json_answer(question.seed, content, NO_TOKENS, model=None, tier=None)
