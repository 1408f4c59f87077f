"""
Answer ``POST /v1/chat/completions`` of OpenAI and its relatives, whole; `openai_chat_events` streams the same.

Rules: both ways say the same, piece for piece; one streamed piece is one token; the order of keys is the provider's.
Sources: the ``openai`` SDK's ``types/chat``, and recorded answers.
"""

from collections.abc import Mapping
from typing import Any

from penia_proxy.sandbox import openai, openai_input
from penia_proxy.sandbox.answer import Answer, Question, broken, count_of
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.manner import OPENAI, Manner, ordered
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.openai_chat_events import events, finish_of
from penia_proxy.sandbox.speech import Said, Tool, Use, Wish, said
from penia_proxy.sandbox.words import derive, speech


def answer(question: Question, manner: Manner = OPENAI) -> Answer:
    """Return the answer. Raises Refused."""
    openai_input.checked(question.body)
    return Completion(question, manner).answer()


class Completion:
    """One completion: what is said, and the frame around it."""

    def __init__(self, question: Question, manner: Manner) -> None:
        body = question.body
        self.question = question
        self.manner = manner
        self.seed = question.seed
        self.asked = str(body["model"])
        self.model = served_name(self.asked)
        self.tier = manner.tier(body.get("service_tier"))
        count = count_of(body, "n", 1) or 1
        self.choices = [said(derive(self.seed, "choice", index), self._wish()) for index in range(count)]
        self.tokens = self._count()

    def answer(self) -> Answer:
        """Return the whole or the streamed form."""
        layout, seed = self.manner.layout, self.seed
        if self.question.body.get("stream") is not True:
            return layout.json_answer(seed, self._whole(), self.tokens, model=self.model, tier=self.tier)
        return Answer(
            status=200,
            headers=layout.headers(seed, "text/event-stream; charset=utf-8"),
            pieces=events(self),
            streamed=True,
            tokens=self.tokens,
            request_id=layout.request_id(seed),
            served_model=self.model,
            service_tier=self.tier,
        )

    @property
    def frame(self) -> dict[str, Any]:
        """The members that the whole answer and each chunk have."""
        fingerprint = f"fp_{derive(self.model.encode()).hex()[:10]}" if self.manner.fingerprint(self.asked) else None
        return {
            "id": self.manner.completion_id(self.seed),
            "created": openai.created(self.seed),
            "model": self.model,
            "service_tier": self.tier,
            "system_fingerprint": fingerprint,
        }

    @property
    def usage(self) -> dict[str, Any]:
        """What is reported of the tokens, as the behaviour has it."""
        changed: dict[str, Any] = broken(self.manner.usage(self.tokens, self.asked), self.question.behaviour.usage)
        return changed

    def thought(self, index: int) -> list[str]:
        """Return the thoughts of a choice, where they are shown."""
        shown = self.choices[index].thoughts if self.manner.shows_thoughts else 0
        return speech(derive(self.seed, "thought", index), shown)

    def logprobs(self, pieces: list[str]) -> dict[str, Any]:
        """Return the ``logprobs`` member, where the model has one."""
        if not self.manner.logprobs(self.asked):
            return {}
        if self.question.body.get("logprobs") is not True or not pieces:
            return {"logprobs": None}
        content = [
            {"token": piece, "logprob": -len(piece) / 64, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece in pieces
        ]
        return {"logprobs": {"content": content, "refusal": None}}

    def call(self, use: Use, index: int) -> dict[str, Any]:
        """Return a call of a tool, whole."""
        function = {"name": use.name, "arguments": "".join(use.written)}
        called = {"id": self.manner.call_id(use.seed), "type": "function", "function": function, "index": index}
        return ordered(self.manner.call, called)

    def _wish(self) -> Wish:
        body = self.question.body
        asked = body.get("response_format")
        form = asked if isinstance(asked, Mapping) else {}
        kind = form.get("type")
        described = form.get("json_schema")
        stop = body.get("stop")
        tools = [Tool(str(tool.get("name", "")), tool.get("parameters")) for tool in openai_input.chosen_tools(body)]
        return Wish(
            cap=openai_input.cap_of(body),
            thoughts=self.manner.thoughts(self.question, self.asked),
            tools=tools,
            form="schema" if kind == "json_schema" else "object" if kind == "json_object" else "text",
            schema=described.get("schema") if isinstance(described, Mapping) else None,
            stops=[stop] if isinstance(stop, str) else [text for text in stop or [] if isinstance(text, str)],
            length=self.question.behaviour.output_tokens,
            separators=self.manner.separators,
        )

    def _count(self) -> Tokens:
        body = self.question.body
        prompt = openai_input.prompt_tokens(body)
        visible = sum(choice.visible for choice in self.choices)
        thoughts = sum(choice.thoughts for choice in self.choices)
        if self.manner.shows_thoughts:
            visible, thoughts = visible + thoughts, 0
        if not self.manner.caches:
            return Tokens(input=prompt, output=visible, reasoning=thoughts)
        cached = self.question.cache.by_prefix(self.model, openai_input.prompt_bytes(body), prompt)
        written = cached.write_5m if openai_input.writes_cache(self.asked) else 0
        return Tokens(
            input=prompt - cached.read - written,
            cache_read=cached.read,
            cache_write_5m=written,
            output=visible,
            reasoning=thoughts,
        )

    def _whole(self) -> dict[str, Any]:
        fault = self.question.behaviour.usage
        choices = [self._choice(index, choice) for index, choice in enumerate(self.choices)]
        content = self.frame | {"object": "chat.completion", "choices": choices} | self.manner.besides(self.seed)
        if fault != "omit":
            content["usage"] = None if fault == "null" else self.usage
        shown = ordered(self.manner.whole, content)
        return shown | {"usage#2": self.usage} if fault == "twice" else shown

    def _choice(self, index: int, choice: Said) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.text), "refusal": None}
        message["annotations"] = []
        if choice.uses:
            message["content"] = self.manner.content_of_calls
            message["tool_calls"] = [self.call(use, place) for place, use in enumerate(choice.uses)]
        if thought := self.thought(index):
            message["reasoning"] = "".join(thought)
        shown = {"index": index, "message": ordered(self.manner.message, message), "finish_reason": finish_of(choice)}
        return ordered(self.manner.choice, shown | self.logprobs(choice.text))
