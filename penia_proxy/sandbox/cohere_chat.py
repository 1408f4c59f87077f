"""
Answer Cohere's ``POST /v2/chat``, streamed or whole.

Rules: both ways say the same, piece for piece; what is billed is the messages' own text and what was made, while the
tokens that are counted include Cohere's own prompt; thoughts are inside the output and, as billed, not told apart.
Sources: the ``cohere`` SDK's ``v2``, and recorded streams for the order of events and their keys.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from penia_proxy.sandbox import cohere
from penia_proxy.sandbox.answer import Answer, Piece, Question, broken, count_of, model_of, objects_in, turns_of
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.openai_input import chosen_tools, json_tokens
from penia_proxy.sandbox.speech import Tool, Use, Wish, said
from penia_proxy.sandbox.words import canonical, derive, identifier, number, speech, tokens_of

PREAMBLE_TOKENS = 495
"""What Cohere's own prompt counts (wire_formats §1.5: 505 counted, of which 10 are billed)."""

CACHED_TOKENS = 448
"""How much of it comes from a cache."""

TOKENS_PER_IMAGE = 256

_ENDS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tools": "TOOL_CALL"}


def answer(question: Question) -> Answer:
    """Return the answer. Raises Refused."""
    model_of(question.body)
    turns_of(question.body)
    return _Chat(question).answer()


class _Chat:
    """One answer. Strictly private."""

    def __init__(self, question: Question) -> None:
        body = question.body
        self._question = question
        self._seed = question.seed
        self._model = str(body["model"])
        form = body.get("response_format")
        form = form if isinstance(form, Mapping) else {}
        schema = form.get("json_schema") or form.get("schema")
        stops = body.get("stop_sequences")
        self._said = said(
            self._seed,
            Wish(
                cap=count_of(body, "max_tokens", 1),
                thoughts=self._thoughts(),
                tools=[
                    Tool(str(tool.get("name", "")), tool.get("parameters")) for tool in chosen_tools(_as_openai(body))
                ],
                form="schema" if schema else "object" if form.get("type") == "json_object" else "text",
                schema=schema,
                stops=[stop for stop in stops if isinstance(stop, str)] if isinstance(stops, list) else [],
                length=question.behaviour.output_tokens,
            ),
        )
        self._thought = speech(derive(self._seed, "thought"), self._said.thoughts)
        self._plan = speech(derive(self._seed, "plan"), 5) if self._said.uses and not self._thought else []
        given = sum(map(_turn_tokens, turns_of(body))) + (json_tokens(body["tools"]) if body.get("tools") else 0)
        made = self._said.visible + self._said.thoughts + len(self._plan)
        self._tokens = Tokens(input=min(given, len(canonical(body))), output=made)

    def answer(self) -> Answer:
        """Return the whole or the streamed form."""
        if self._question.body.get("stream") is not True:
            return cohere.json_answer(self._seed, self._whole(), self._tokens, model=self._model)
        return Answer(
            status=200,
            headers=cohere.headers(self._seed, "text/event-stream"),
            pieces=self._events(),
            streamed=True,
            tokens=self._tokens,
            request_id=cohere.request_id(self._seed),
            served_model=self._model,
        )

    def _thoughts(self) -> int:
        asked = self._question.body.get("thinking")
        reasons = "reasoning" in self._model or (isinstance(asked, Mapping) and asked.get("type") == "enabled")
        if not reasons or (isinstance(asked, Mapping) and asked.get("type") == "disabled"):
            return 0
        scripted = self._question.behaviour.reasoning_tokens
        return number(self._seed, "thoughts", 20, 60) if scripted is None else scripted

    @property
    def _end(self) -> str:
        return "STOP_SEQUENCE" if self._said.stopped_by else _ENDS[self._said.end]

    def _usage(self) -> dict[str, Any]:
        """Return the ``usage`` member, as the behaviour has it, or nothing."""
        tokens, fault = self._tokens, self._question.behaviour.usage
        counted = {"input_tokens": tokens.input + PREAMBLE_TOKENS, "output_tokens": tokens.output + 3}
        if self._thought:
            counted["reasoning_tokens"] = len(self._thought)
        usage = {
            "billed_units": {"input_tokens": tokens.input, "output_tokens": tokens.output},
            "tokens": counted,
            "cached_tokens": CACHED_TOKENS,
        }
        if fault == "omit":
            return {}
        shown = {"usage": None if fault == "null" else broken(usage, fault)}
        return shown | {"usage#2": usage} if fault == "twice" else shown

    def _whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        content = [{"type": "thinking", "thinking": "".join(self._thought)}] if self._thought else []
        content += [{"type": "text", "text": "".join(self._said.text)}] if self._said.text else []
        message |= {"content": content} if content else {}
        message |= {"tool_plan": "".join(self._plan)} if self._plan else {}
        if self._said.uses:
            message["tool_calls"] = [_call(use, "".join(use.written)) for use in self._said.uses]
        head = {"id": cohere.name_of(self._seed), "message": message, "finish_reason": self._end}
        return head | self._usage()

    def _events(self) -> Iterator[Piece]:
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        start = {"id": cohere.name_of(self._seed), "type": "message-start", "delta": {"message": message}}
        yield Piece(cohere.event(start))
        blocks = [(kind, made) for kind, made in (("thinking", self._thought), ("text", self._said.text)) if made]
        for index, (kind, made) in enumerate(blocks):
            yield _event("content-start", index, {"content": {"type": kind, kind: ""}})
            for piece in made:
                yield _event("content-delta", index, {"content": {kind: piece}}, 1)
            yield Piece(cohere.event({"type": "content-end", "index": index}))
        for piece in self._plan:
            delta = {"message": {"tool_plan": piece}}
            yield Piece(cohere.event({"type": "tool-plan-delta", "delta": delta}), 1)
        for index, use in enumerate(self._said.uses):
            yield _event("tool-call-start", index, {"tool_calls": _call(use, "")}, 1)
            for piece in use.written:
                yield _event("tool-call-delta", index, {"tool_calls": {"function": {"arguments": piece}}}, 1)
            yield Piece(cohere.event({"type": "tool-call-end", "index": index}))
        if not self._question.behaviour.no_end:
            end = {"finish_reason": self._end} | {name: one for name, one in self._usage().items() if name == "usage"}
            yield Piece(cohere.event({"type": "message-end", "delta": end}))
            yield Piece(b"data: [DONE]\n\n")


def _event(kind: str, index: int, message: dict[str, Any], tokens: int = 0) -> Piece:
    return Piece(cohere.event({"type": kind, "index": index, "delta": {"message": message}}), tokens)


def _call(use: Use, arguments: str) -> dict[str, Any]:
    name = f"{use.name}_{identifier('', use.seed, 12).lower()}"
    return {"id": name, "type": "function", "function": {"name": use.name, "arguments": arguments}}


def _as_openai(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body with its choice of tools as OpenAI has it."""
    choice = body.get("tool_choice")
    return {**body, "tool_choice": choice.lower() if isinstance(choice, str) else "auto"}


def _turn_tokens(turn: Mapping[str, Any]) -> int:
    content = turn.get("content")
    if isinstance(content, str):
        return tokens_of(content)
    parts = objects_in(turn, "content")
    images = len([part for part in parts if part.get("type") == "image_url"])
    return TOKENS_PER_IMAGE * images + sum(tokens_of(str(part.get("text", ""))) for part in parts)
