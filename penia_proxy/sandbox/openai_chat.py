"""
Answer OpenAI's ``POST /v1/chat/completions``, streamed or whole.

Rules: both ways say the same, piece for piece; one streamed piece is one token; the order of keys is the API's.
Sources: the ``openai`` SDK's ``types/chat``, and recorded streams for the order of chunks and their keys.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import orjson

from penia_proxy.sandbox import openai, openai_input
from penia_proxy.sandbox.answer import Answer, Piece, Question, broken, count_of, until_stop
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.schemas import arguments_of, example_of
from penia_proxy.sandbox.words import derive, identifier, number, pieces, speech

_OBFUSCATION = "kQ7zXw3Lr9TbN5vH"


@dataclass(slots=True)
class _ToolCall:
    id: str
    name: str
    arguments: list[str]


@dataclass(slots=True)
class _Choice:
    """One of ``n`` answers, already cut to the cap."""

    said: list[str]
    calls: list[_ToolCall]
    reasoning: int
    finish: str

    @property
    def visible(self) -> int:
        return len(self.said) + sum(1 + len(call.arguments) for call in self.calls)


def answer(question: Question) -> Answer:
    """Return the answer. Raises Refused."""
    openai_input.checked(question.body)
    return _Completion(question).answer()


class _Completion:
    """One completion: what is said, and the frame around it. Strictly private."""

    def __init__(self, question: Question) -> None:
        body = question.body
        self._question = question
        self._seed = question.seed
        self._asked = str(body["model"])
        self._model = served_name(self._asked)
        self._id = identifier("chatcmpl-", question.seed, 29)
        self._tier = openai_input.TIERS.get(str(body.get("service_tier")), "default")
        self._reasons = openai_input.reasons(self._asked)
        count = count_of(body, "n", 1) or 1
        self._choices = [self._choice(derive(question.seed, "choice", index)) for index in range(count)]
        self._tokens = self._count()

    def answer(self) -> Answer:
        """Return the whole or the streamed form."""
        if self._question.body.get("stream") is not True:
            return openai.json_answer(self._seed, self._whole(), self._tokens, model=self._model, tier=self._tier)
        return Answer(
            status=200,
            headers=openai.headers(self._seed, "text/event-stream; charset=utf-8"),
            pieces=self._events(),
            streamed=True,
            tokens=self._tokens,
            request_id=openai.request_id(self._seed),
            served_model=self._model,
            service_tier=self._tier,
        )

    def _choice(self, seed: bytes) -> _Choice:
        body = self._question.body
        cap = openai_input.cap_of(body)
        wanted = openai_input.reasoning_tokens(self._question, self._asked, body.get("reasoning_effort"))
        reasoning = wanted if cap is None else min(wanted, cap)
        left = None if cap is None else cap - reasoning
        tools = openai_input.chosen_tools(body)
        if tools:
            calls, cut = _capped_calls([_call(tool, derive(seed, index)) for index, tool in enumerate(tools)], left)
            return _Choice([], calls, reasoning, "length" if cut else "tool_calls")
        stop = body.get("stop")
        stops = [stop] if isinstance(stop, str) else [text for text in stop or [] if isinstance(text, str)]
        said, _ = until_stop(self._say(seed), stops)
        kept = said if left is None else said[:left]
        return _Choice(kept, [], reasoning, "length" if len(kept) < len(said) else "stop")

    def _say(self, seed: bytes) -> list[str]:
        wanted = self._question.behaviour.output_tokens
        asked = self._question.body.get("response_format")
        kind = asked.get("type") if isinstance(asked, Mapping) else None
        if wanted is not None or kind not in {"json_object", "json_schema"}:
            return speech(seed, number(seed, "length", 12, 60) if wanted is None else wanted)
        if kind == "json_object":
            return pieces(json.dumps({"answer": "".join(speech(seed, 6))}))
        described = asked.get("json_schema") if isinstance(asked, Mapping) else None
        schema = described.get("schema") if isinstance(described, Mapping) else None
        return pieces(json.dumps(example_of(schema, seed), separators=(",", ":"), ensure_ascii=False))

    def _count(self) -> Tokens:
        body = self._question.body
        prompt = openai_input.prompt_tokens(body)
        cached = self._question.cache.by_prefix(self._model, openai_input.prompt_bytes(body), prompt)
        written = cached.write_5m if openai_input.writes_cache(self._asked) else 0
        return Tokens(
            input=prompt - cached.read - written,
            cache_read=cached.read,
            cache_write_5m=written,
            output=sum(choice.visible for choice in self._choices),
            reasoning=sum(choice.reasoning for choice in self._choices),
        )

    def _usage(self) -> dict[str, Any]:
        tokens = self._tokens
        prompt = tokens.input + tokens.cache_read + tokens.cache_write_5m
        prompt_details = {"cached_tokens": tokens.cache_read, "audio_tokens": 0}
        if openai_input.writes_cache(self._asked):
            prompt_details["cache_write_tokens"] = tokens.cache_write_5m
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": tokens.produced,
            "total_tokens": prompt + tokens.produced,
            "prompt_tokens_details": prompt_details,
            "completion_tokens_details": {
                "reasoning_tokens": tokens.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        changed: dict[str, Any] = broken(usage, self._question.behaviour.usage)
        return changed

    def _whole(self) -> dict[str, Any]:
        fault = self._question.behaviour.usage
        content: dict[str, Any] = {
            "id": self._id,
            "object": "chat.completion",
            "created": openai.created(self._seed),
            "model": self._model,
            "choices": [self._whole_choice(index, choice) for index, choice in enumerate(self._choices)],
        }
        if fault != "omit":
            content["usage"] = None if fault == "null" else self._usage()
        if fault == "twice":
            content["usage#2"] = self._usage()
        return content | {"service_tier": self._tier, "system_fingerprint": self._fingerprint()}

    def _whole_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None if choice.calls else "".join(choice.said)}
        if choice.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(call.arguments)},
                }
                for call in choice.calls
            ]
        message |= {"refusal": None, "annotations": []}
        return {"index": index, "message": message} | self._logprobs(choice.said) | {"finish_reason": choice.finish}

    def _logprobs(self, said: list[str]) -> dict[str, Any]:
        """Return the ``logprobs`` member, which the models that reason do not have."""
        if self._reasons:
            return {}
        if self._question.body.get("logprobs") is not True or not said:
            return {"logprobs": None}
        content = [
            {"token": piece, "logprob": -len(piece) / 64, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece in said
        ]
        return {"logprobs": {"content": content, "refusal": None}}

    def _fingerprint(self) -> str | None:
        return None if self._reasons else f"fp_{derive(self._model.encode()).hex()[:10]}"

    def _events(self) -> Iterator[Piece]:
        body, fault = self._question.body, self._question.behaviour.usage
        options = body.get("stream_options")
        options = options if isinstance(options, Mapping) else {}
        with_usage = options.get("include_usage") is True and fault != "omit"
        frame = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": openai.created(self._seed),
            "model": self._model,
            "service_tier": self._tier,
            "system_fingerprint": self._fingerprint(),
        }
        obfuscated = options.get("include_obfuscation") is not False
        total = 0
        for total, (choices, size, tokens) in enumerate(self._interleaved(), 1):
            chunk: dict[str, Any] = frame | {"choices": choices}
            if with_usage:
                chunk["usage"] = None
            yield Piece(_event(chunk, total + size, obfuscated=obfuscated), tokens)
        if with_usage:
            last = frame | {"choices": [], "usage": None if fault == "null" else self._usage()}
            for _ in range(2 if fault == "twice" else 1):
                yield Piece(_event(last, total, obfuscated=obfuscated))
        if not self._question.behaviour.no_end:
            yield Piece(b"data: [DONE]\n\n")

    def _interleaved(self) -> Iterator[tuple[list[dict[str, Any]], int, int]]:
        """Yield ``(choices, size of the text, tokens)`` of each chunk: the choices take turns."""
        for turn in zip_longest(*(self._deltas(choice) for choice in self._choices)):
            for index, step in enumerate(turn):
                if step is not None:
                    delta, finish, tokens = step
                    said = [delta["content"]] if delta.get("content") else []
                    choice = {"index": index, "delta": delta} | self._logprobs(said) | {"finish_reason": finish}
                    yield [choice], len(delta.get("content") or ""), tokens

    def _deltas(self, choice: _Choice) -> Iterator[tuple[dict[str, Any], str | None, int]]:
        """Yield ``(delta, finish reason, tokens)``; the reasoning was produced before the first chunk leaves."""
        role: dict[str, Any] = {"role": "assistant", "content": None if choice.calls else ""}
        alone = len(choice.calls) == 1
        if alone:
            # A single call's head travels with the role; with several, the role goes first (both as recorded).
            role |= _call_head(0, choice.calls[0])
        yield role | {"refusal": None}, None, choice.reasoning + alone
        for piece in choice.said:
            yield {"content": piece}, None, 1
        for index, call in enumerate(choice.calls):
            if not alone:
                yield _call_head(index, call), None, 1
            for piece in call.arguments:
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None, 1
        yield {}, choice.finish, 0


def _event(chunk: dict[str, Any], size: int, *, obfuscated: bool) -> bytes:
    """Return one event. The padding hides a chunk's length, as the API's does; it is no secret here, only there."""
    if obfuscated:
        chunk = chunk | {"obfuscation": _OBFUSCATION[: 1 + size % len(_OBFUSCATION)]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _call(function: Mapping[str, Any], seed: bytes) -> _ToolCall:
    arguments = arguments_of(function.get("parameters"), seed)
    text = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
    return _ToolCall(identifier("call_", seed, 24), str(function.get("name", "")), pieces(text))


def _call_head(index: int, call: _ToolCall) -> dict[str, Any]:
    head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    return {"tool_calls": [head]}


def _capped_calls(calls: list[_ToolCall], left: int | None) -> tuple[list[_ToolCall], bool]:
    """Return the calls within the cap, the last one's arguments perhaps cut, and whether anything was."""
    if left is None:
        return calls, False
    kept: list[_ToolCall] = []
    for call in calls:
        if left < 1:
            return kept, True
        arguments = call.arguments[: left - 1]
        kept.append(_ToolCall(call.id, call.name, arguments))
        left -= 1 + len(arguments)
        if len(arguments) < len(call.arguments):
            return kept, True
    return kept, False
