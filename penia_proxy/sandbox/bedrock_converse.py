"""
Answer Bedrock's Converse, whole and as an event stream, and count for it.

Rules: both ways say the same, piece for piece; one delta is one token, and so is the head of a tool use; what is cached
is beside ``inputTokens``, not in it. Nova's own body (InvokeModel) says the same in the same words. Sources: botocore
1.44, bedrock-runtime; recorded answers.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from penia_proxy.sandbox import bedrock
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question, broken, count_of, objects_in, turns_of
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.openai_input import json_tokens
from penia_proxy.sandbox.prompt_cache import Mark
from penia_proxy.sandbox.speech import SPACED, Tool, Use, Wish, said
from penia_proxy.sandbox.words import TOKENS_PER_MESSAGE, canonical, identifier, tokens_of

TOKENS_PER_IMAGE = 255

_ENDS = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}

Event = tuple[str, dict[str, Any], int]
"""An event's name, what it says, and the tokens that leave with it."""


def whole(question: Question) -> Answer:
    """Answer ``converse``. Raises Refused."""
    made = Converse(question)
    return bedrock.json_answer(question.seed, made.whole(), made.tokens, model=made.model)


def stream(question: Question) -> Answer:
    """Answer ``converse-stream``. Raises Refused."""
    made = Converse(question)
    return streamed(
        question, made, (Piece(bedrock.event(kind, content), count) for kind, content, count in made.events())
    )


def streamed(question: Question, made: "Converse", pieces: Iterator[Piece]) -> Answer:
    """Return an answer of these pieces."""
    return Answer(
        status=200,
        headers=bedrock.headers(question.seed, bedrock.EVENT_STREAM),
        pieces=pieces,
        streamed=True,
        tokens=made.tokens,
        request_id=bedrock.request_id(question.seed),
        served_model=made.model,
    )


def count(question: Question) -> Answer:
    """Answer ``count-tokens`` of a conversation. Raises Refused."""
    given = question.body.get("input")
    body = given.get("converse") if isinstance(given, Mapping) else None
    body = body if isinstance(body, Mapping) else {}
    turns_of(body)
    said = {"inputTokens": min(sum(map(_block_tokens, _blocks(body))), len(canonical(body)))}
    return bedrock.json_answer(question.seed, said, NO_TOKENS, model=None)


class Converse:
    """One answer to a conversation."""

    def __init__(self, question: Question) -> None:
        body = question.body
        turns = turns_of(body)
        (self.model,) = question.values
        self._question = question
        config = body.get("inferenceConfig")
        config = config if isinstance(config, Mapping) else {}
        stops = config.get("stopSequences")
        self._said = said(
            question.seed,
            Wish(
                cap=count_of(config, "maxTokens", 1) or count_of(config, "max_new_tokens", 1),
                tools=_tools(body, turns),
                stops=[stop for stop in stops if isinstance(stop, str)] if isinstance(stops, list) else [],
                length=question.behaviour.output_tokens,
                separators=SPACED,
            ),
        )
        prompt = min(sum(map(_block_tokens, _blocks(body))), len(canonical(body)))
        cached = question.cache.by_marks(self.model, _marks(body, prompt))
        self.tokens = Tokens(
            input=prompt - cached.read - cached.write_5m,
            cache_read=cached.read,
            cache_write_5m=cached.write_5m,
            output=self._said.visible,
        )

    @property
    def end(self) -> str:
        """Why it ended."""
        return "stop_sequence" if self._said.stopped_by else _ENDS[self._said.end]

    def usage(self) -> dict[str, Any]:
        """Return the ``usage`` member, as the behaviour has it, or nothing."""
        tokens, fault = self.tokens, self._question.behaviour.usage
        cached = tokens.cache_read + tokens.cache_write_5m
        counts = {
            "inputTokens": tokens.input,
            "outputTokens": tokens.output,
            "totalTokens": tokens.input + cached + tokens.output,
        }
        if cached:
            counts |= {"cacheReadInputTokens": tokens.cache_read, "cacheWriteInputTokens": tokens.cache_write_5m}
        if fault == "omit":
            return {}
        shown = {"usage": None if fault == "null" else broken(counts, fault)}
        return shown | {"usage#2": counts} if fault == "twice" else shown

    def message(self) -> dict[str, Any]:
        """Return the whole message."""
        content: list[dict[str, Any]] = [{"text": "".join(self._said.text)}] if self._said.text else []
        content += [{"toolUse": {**_head(use), "input": use.arguments}} for use in self._said.uses]
        return {"role": "assistant", "content": content}

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        head = {"metrics": {"latencyMs": 377}, "output": {"message": self.message()}, "stopReason": self.end}
        return head | self.usage()

    def events(self) -> Iterator[Event]:
        """Yield the events."""
        yield "messageStart", {"role": "assistant"}, 0
        place = 0
        if self._said.text:
            for piece in self._said.text:
                yield "contentBlockDelta", {"contentBlockIndex": place, "delta": {"text": piece}}, 1
            yield "contentBlockStop", {"contentBlockIndex": place}, 0
            place += 1
        for use in self._said.uses:
            yield "contentBlockStart", {"contentBlockIndex": place, "start": {"toolUse": _head(use)}}, 1
            for piece in use.written:
                delta = {"toolUse": {"input": piece}}
                yield "contentBlockDelta", {"contentBlockIndex": place, "delta": delta}, 1
            yield "contentBlockStop", {"contentBlockIndex": place}, 0
            place += 1
        yield "messageStop", {"stopReason": self.end}, 0
        if not self._question.behaviour.no_end:
            usage = {name: one for name, one in self.usage().items() if name == "usage"}
            yield "metadata", {"metrics": {"latencyMs": 377}} | usage, 0


def _head(use: Use) -> dict[str, Any]:
    return {"toolUseId": identifier("tooluse_", use.seed, 22), "name": use.name}


def _tools(body: Mapping[str, Any], turns: list[Mapping[str, Any]]) -> list[Tool]:
    """Return the tools that are used: the first, unless the last turn has a tool's result."""
    config = body.get("toolConfig")
    config = config if isinstance(config, Mapping) else {}
    if any("toolResult" in block for block in objects_in(turns[-1], "content")):
        return []
    specs = [tool["toolSpec"] for tool in objects_in(config, "tools") if isinstance(tool.get("toolSpec"), Mapping)]
    choice = config.get("toolChoice")
    named = choice.get("tool") if isinstance(choice, Mapping) else None
    if isinstance(named, Mapping):
        specs = [spec for spec in specs if spec.get("name") == named.get("name")]
    schemas = [spec.get("inputSchema") for spec in specs[:1]]
    return [
        Tool(str(spec.get("name", "")), schema.get("json") if isinstance(schema, Mapping) else None)
        for spec, schema in zip(specs, schemas, strict=False)
    ]


def _blocks(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every part of the prompt, in the order in which it is cached; a turn as a block of its own before its."""
    config = body.get("toolConfig")
    yield from objects_in(config, "tools") if isinstance(config, Mapping) else []
    yield from objects_in(body, "system")
    for turn in turns_of(body):
        yield {"role": turn["role"]}
        content = turn.get("content")
        yield from [{"text": content}] if isinstance(content, str) else objects_in(turn, "content")


def _block_tokens(block: Mapping[str, Any]) -> int:
    if "text" in block:
        return tokens_of(str(block["text"]))
    if "role" in block:
        return TOKENS_PER_MESSAGE
    if "cachePoint" in block:
        return 0
    return TOKENS_PER_IMAGE if "image" in block else json_tokens(block)


def _marks(body: Mapping[str, Any], total: int) -> list[Mark]:
    """Return the cache breakpoints."""
    marks: list[Mark] = []
    running = hashlib.sha256()
    tokens = 0
    for block in _blocks(body):
        if "cachePoint" in block:
            marks.append(Mark(running.digest(), min(tokens, total), "5m"))
        running.update(orjson.dumps(block, option=orjson.OPT_SORT_KEYS))
        tokens += _block_tokens(block)
    return marks
