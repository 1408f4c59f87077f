"""
Answer Anthropic's ``POST /v1/messages``, streamed or whole, and ``/v1/messages/count_tokens``.

Rules: both ways say the same, piece for piece; one streamed delta of text, thinking or JSON is one token, and so is the
head of a tool use; ``output_tokens`` in ``message_delta`` is the total, not an increment.
Sources: the ``anthropic`` SDK's ``types``, and recorded streams for the order of events and their keys.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from penia_proxy.sandbox import anthropic, anthropic_input
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question, broken, count_of, until_stop
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.schemas import arguments_of
from penia_proxy.sandbox.words import derive, identifier, number, pieces, speech

_TIER = "standard"


@dataclass(frozen=True, slots=True)
class _Block:
    """One content block: how it begins, its deltas, and how it looks when it is whole."""

    head: dict[str, Any]
    deltas: list[dict[str, Any]]
    whole: dict[str, Any]
    tokens_head: int = 0
    """Tokens that leave with the block's start event."""
    free: int = 0
    """Deltas that are no tokens: the first, empty piece of a tool's input, a signature."""

    @property
    def tokens(self) -> int:
        return self.tokens_head + len(self.deltas) - self.free


def answer(question: Question) -> Answer:
    """Return the answer. Raises Refused."""
    anthropic_input.checked(question.body)
    return _Message(question).answer()


def count(question: Question) -> Answer:
    """Return the answer to ``count_tokens``. Raises Refused."""
    anthropic_input.checked(question.body, for_count=True)
    content = {"input_tokens": anthropic_input.prompt_tokens(question.body)}
    return anthropic.json_answer(question.seed, content, NO_TOKENS, model=None, tier=None)


class _Message:
    """One message: what is said, and the frame around it. Strictly private."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._body = question.body
        self._seed = question.seed
        self._model = served_name(str(question.body["model"]))
        self._id = identifier("msg_01", question.seed, 22)
        self._blocks: list[_Block] = []
        self._stop_reason = "end_turn"
        self._stop_sequence: str | None = None
        self._thought = 0
        self._compose()
        self._tokens = self._count()

    def answer(self) -> Answer:
        """Return the whole or the streamed form."""
        if self._body.get("stream") is not True:
            return anthropic.json_answer(self._seed, self._whole(), self._tokens, model=self._model, tier=_TIER)
        headers = anthropic.headers(self._seed, "text/event-stream; charset=utf-8")
        return Answer(
            status=200,
            headers=[*headers, ("Cache-Control", "no-cache")],
            pieces=self._events(),
            streamed=True,
            tokens=self._tokens,
            request_id=anthropic.request_id(self._seed),
            served_model=self._model,
            service_tier=_TIER,
        )

    def _compose(self) -> None:
        """Think, speak and call until the cap is reached."""
        left = count_of(self._body, "max_tokens", 0) or 0
        wanted = anthropic_input.thinking_tokens(self._question)
        if wanted and left:
            self._thought = min(wanted, left)
            left -= self._thought
            self._blocks.append(_thinking(self._seed, self._thought, shown=anthropic_input.thinking_shown(self._body)))
        tools = anthropic_input.chosen_tools(self._body)
        said, stop = self._say(6 if tools else None)
        if self._thought < wanted or len(said) > left:
            self._stop_reason = "max_tokens"
        elif stop is not None:
            self._stop_reason, self._stop_sequence = "stop_sequence", stop
        if said[:left]:
            self._blocks.append(_text(said[:left]))
        left -= len(said[:left])
        if self._stop_reason == "end_turn" and tools:
            self._use(tools, left)

    def _use(self, tools: list[Mapping[str, Any]], left: int) -> None:
        self._stop_reason = "tool_use"
        for index, tool in enumerate(tools):
            if left < 1:
                self._stop_reason = "max_tokens"
                return
            block, cut = _tool_use(tool, derive(self._seed, "tool", index), left)
            self._blocks.append(block)
            left -= block.tokens
            if cut:
                self._stop_reason = "max_tokens"
                return

    def _say(self, length: int | None) -> tuple[list[str], str | None]:
        wanted = self._question.behaviour.output_tokens
        if length is None:
            length = number(self._seed, "length", 12, 60) if wanted is None else wanted
        given = self._body.get("stop_sequences")
        stops = [stop for stop in given if isinstance(stop, str)] if isinstance(given, list) else []
        return until_stop(speech(self._seed, length), stops)

    def _count(self) -> Tokens:
        prompt = anthropic_input.prompt_tokens(self._body)
        cached = self._question.cache.by_marks(self._model, anthropic_input.marks_of(self._body, prompt))
        visible = sum(block.tokens for block in self._blocks if block.head["type"] != "thinking")
        return Tokens(
            input=prompt - cached.read - cached.write_5m - cached.write_1h,
            cache_read=cached.read,
            cache_write_5m=cached.write_5m,
            cache_write_1h=cached.write_1h,
            output=visible,
            reasoning=self._thought,
        )

    def _input_usage(self) -> dict[str, Any]:
        tokens = self._tokens
        return {
            "input_tokens": tokens.input,
            "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
            "cache_read_input_tokens": tokens.cache_read,
        }

    def _usage(self, output: int, *, details: bool) -> dict[str, Any]:
        """Return the usage of a whole message, or of ``message_start``."""
        tokens = self._tokens
        usage = self._input_usage() | {
            "cache_creation": {
                "ephemeral_5m_input_tokens": tokens.cache_write_5m,
                "ephemeral_1h_input_tokens": tokens.cache_write_1h,
            },
            "output_tokens": output,
        }
        if details and self._thought:
            usage["output_tokens_details"] = {"thinking_tokens": self._thought}
        usage |= {"service_tier": _TIER, "inference_geo": self._body.get("inference_geo") or "global"}
        if self._body.get("speed"):
            usage["speed"] = self._body["speed"]
        return usage

    def _delta_usage(self) -> dict[str, Any]:
        """Return the usage of ``message_delta``: cumulative, and without the split of the cache writes."""
        usage = self._input_usage() | {"output_tokens": self._tokens.produced}
        if self._thought:
            usage["output_tokens_details"] = {"thinking_tokens": self._thought}
        return usage

    def _with_usage(self, content: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
        """Return the object with its usage, as the behaviour has it reported."""
        fault = self._question.behaviour.usage
        if fault == "omit":
            return content
        return content | {"usage": None if fault == "null" else broken(usage, fault)}

    def _frame(self, content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
        return {
            "model": self._model,
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": self._stop_sequence if stop_reason else None,
            "stop_details": None,
        }

    def _whole(self) -> dict[str, Any]:
        frame = self._frame([block.whole for block in self._blocks], self._stop_reason)
        usage = self._usage(self._tokens.produced, details=True)
        content = self._with_usage(frame, usage)
        return content | {"usage#2": usage} if self._question.behaviour.usage == "twice" else content

    def _events(self) -> Iterator[Piece]:
        behaviour = self._question.behaviour
        started = self._usage(min(1, self._tokens.produced), details=False)
        message = self._with_usage(self._frame([], None), started)
        yield Piece(anthropic.event({"type": "message_start", "message": message}, 1))
        yield from self._block_events()
        ending = {
            "stop_reason": self._stop_reason,
            "stop_sequence": self._stop_sequence,
            "stop_details": None,
        }
        delta = self._with_usage({"type": "message_delta", "delta": ending}, self._delta_usage())
        for turn in range(2 if behaviour.usage == "twice" else 1):
            yield Piece(anthropic.event(delta, turn + 3))
        if not behaviour.no_end:
            yield Piece(anthropic.event({"type": "message_stop"}, 2))

    def _block_events(self) -> Iterator[Piece]:
        turn = 1
        for index, block in enumerate(self._blocks):
            start = {"type": "content_block_start", "index": index, "content_block": block.head}
            yield Piece(anthropic.event(start, turn), block.tokens_head)
            if index == 0:
                yield Piece(b'event: ping\ndata: {"type": "ping"}\n\n')
            for delta in block.deltas:
                turn += 1
                event = anthropic.event({"type": "content_block_delta", "index": index, "delta": delta}, turn)
                yield Piece(event, 0 if _is_free(delta) else 1)
            yield Piece(anthropic.event({"type": "content_block_stop", "index": index}, turn + 1))


def _is_free(delta: Mapping[str, Any]) -> bool:
    return delta["type"] == "signature_delta" or delta.get("partial_json") == ""


def _text(said: list[str]) -> _Block:
    deltas = [{"type": "text_delta", "text": piece} for piece in said]
    return _Block({"type": "text", "text": ""}, deltas, {"type": "text", "text": "".join(said)})


def _thinking(seed: bytes, count: int, *, shown: bool) -> _Block:
    """Return a thinking block; when it is not shown its tokens are billed all the same, with the block's start."""
    thought = speech(derive(seed, "thought"), count) if shown else []
    signature = base64.b64encode(b"".join(derive(seed, "signature", part) for part in range(6))).decode()
    deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": piece} for piece in thought]
    deltas.append({"type": "signature_delta", "signature": signature})
    return _Block(
        head={"type": "thinking", "thinking": "", "signature": ""},
        deltas=deltas,
        whole={"type": "thinking", "thinking": "".join(thought), "signature": signature},
        tokens_head=0 if shown else count,
        free=1,
    )


def _tool_use(tool: Mapping[str, Any], seed: bytes, left: int) -> tuple[_Block, bool]:
    """Return a tool use of at most ``left`` tokens, and whether its input was cut; a cut input is empty when whole."""
    given = arguments_of(tool.get("input_schema"), seed)
    written = pieces(json.dumps(given, ensure_ascii=False))
    kept = written[: left - 1]
    cut = len(kept) < len(written)
    frame = {"type": "tool_use", "id": identifier("toolu_01", seed, 22), "name": tool.get("name")}
    caller = {"caller": {"type": "direct"}}
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *kept]]
    whole = frame | {"input": {} if cut else given} | caller
    return _Block(frame | {"input": {}} | caller, deltas, whole, tokens_head=1, free=1), cut
