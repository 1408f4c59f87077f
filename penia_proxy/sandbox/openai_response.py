"""
Make an OpenAI response: what it says, how it looks at each moment of its life, and what it is billed.

Rules: whole and streamed say the same, piece for piece; usage is null until the response has ended; a model that
reasons has a reasoning item first, whose tokens are never text.
Sources: the ``openai`` SDK's ``types/responses``, and recorded answers for the order of keys.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from penia_proxy.sandbox import openai, openai_response_input
from penia_proxy.sandbox.answer import Question, broken
from penia_proxy.sandbox.bill import Charge, Tokens
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.openai_input import TIERS, reasons, writes_cache
from penia_proxy.sandbox.speech import Said, said
from penia_proxy.sandbox.words import derive, identifier, speech
from penia_proxy.sandbox.work import State, Work

ItemKind = Literal["reasoning", "web_search_call", "message", "function_call"]

_STATUSES: Mapping[State, str] = {
    "queued": "queued",
    "running": "in_progress",
    "done": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}

_FAILURE = {"code": "server_error", "message": "The model failed to generate a response."}

_SEARCH_TOKENS = 200
"""What a search's results add to the input."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the output: whole, and the pieces it comes in."""

    kind: ItemKind
    whole: dict[str, Any]
    pieces: list[str] = field(default_factory=list)
    """Of its text, arguments or summary."""
    head_tokens: int = 0
    """Tokens that leave with its beginning."""

    @property
    def id(self) -> str:
        return str(self.whole["id"])


class Response(Work):
    """One response, at work or done."""

    def __init__(self, question: Question, seed: bytes, earlier: int) -> None:
        """
        ``seed`` names it; what it says is by the question's own.

        ``earlier``: the tokens of the conversation that it goes on. Raises Refused.
        """
        body = question.body
        self.body = body
        self.seed = seed
        self.fault = question.behaviour.usage
        self.background = body.get("background") is True
        self.id = f"resp_{derive(seed, 'response').hex()[:50]}"
        self.model = served_name(str(body["model"]))
        self.tier = TIERS.get(str(body.get("service_tier")), "default")
        made = said(question.seed, openai_response_input.wish_of(question))
        self._searches = int(openai_response_input.searches(body))
        self.cut = made.end == "length"
        self.items = self._composed(made, question.seed)
        self.tokens = self._count(question, made, earlier)
        charge = Charge(key=self.id, served_model=self.model, tokens=self.tokens, service_tier=self.tier)
        behaviour = question.behaviour
        polls = behaviour.polls if self.background else 0
        super().__init__([charge] if self.background else [], polls=polls, fails=self.background and behaviour.fails)
        if not self.background:
            self.finish()

    @property
    def context_tokens(self) -> int:
        """What a conversation that goes on from here has behind it."""
        tokens = self.tokens
        return tokens.input + tokens.cache_read + tokens.cache_write_5m + tokens.output

    def as_object(self, state: State | None = None) -> dict[str, Any]:
        """Return the response as the API shows it now, or in the state given."""
        state = state or self.state
        body, done = self.body, state == "done"
        created = openai.created(self.seed)
        shown: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": created,
            "status": "incomplete" if done and self.cut else _STATUSES[state],
            "background": self.background,
            "completed_at": created + 1 if done and not self.cut else None,
            "error": _FAILURE if state == "failed" else None,
            "frequency_penalty": 0.0,
            "incomplete_details": {"reason": "max_output_tokens"} if done and self.cut else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": None,
            "model": self.model,
            "output": [item.whole for item in self.items] if done else [],
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "presence_penalty": 0.0,
            "previous_response_id": body.get("previous_response_id"),
            "prompt_cache_key": None,
            "prompt_cache_retention": None,
            "reasoning": self._reasoning(),
            "safety_identifier": None,
            "service_tier": self.tier if done else body.get("service_tier") or "auto",
            "store": body.get("store") is not False,
            "temperature": 1.0,
            "text": _text_of(body),
            "tool_choice": body.get("tool_choice") or "auto",
        }
        if done:
            shown["tool_usage"] = {"image_gen": _NO_IMAGES, "web_search": {"num_requests": self._searches}}
        shown |= {"tools": body.get("tools") or [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled"}
        if self.fault != "omit":
            shown["usage"] = self._usage() if done and self.fault != "null" else None
        if self.fault == "twice" and done:
            shown["usage#2"] = self._usage()
        return shown | {"user": body.get("user"), "metadata": body.get("metadata") or {}}

    def _composed(self, made: Said, words: bytes) -> list[Item]:
        items = []
        if reasons(str(self.body["model"])):
            items.append(self._thinking(made.thoughts, words))
        if self._searches:
            action = {"type": "search", "query": "".join(speech(derive(words, "query"), 3))}
            whole = {"id": self._named("ws"), "type": "web_search_call", "status": "completed", "action": action}
            items.append(Item("web_search_call", whole))
        status = "incomplete" if self.cut else "completed"
        if made.text:
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(made.text)}
            message = {"id": self._named("msg"), "type": "message", "status": status, "content": [part]}
            items.append(Item("message", message | {"role": "assistant"}, made.text))
        for index, use in enumerate(made.uses):
            last = index == len(made.uses) - 1
            call = {
                "id": self._named(f"fc_{index}", "fc"),
                "type": "function_call",
                "status": status if last else "completed",
                "arguments": "".join(use.written),
                "call_id": identifier("call_", use.seed, 24),
                "name": use.name,
            }
            items.append(Item("function_call", call, use.written, head_tokens=1))
        return items

    def _thinking(self, thoughts: int, words: bytes) -> Item:
        item: dict[str, Any] = {"id": self._named("rs"), "type": "reasoning", "content": []}
        include = self.body.get("include")
        if isinstance(include, list) and "reasoning.encrypted_content" in include:
            item["encrypted_content"] = sealed(words)
        asked = self.body.get("reasoning")
        summed = thoughts and isinstance(asked, Mapping) and asked.get("summary")
        pieces = speech(derive(words, "summary"), 12) if summed else []
        item["summary"] = [{"type": "summary_text", "text": "".join(pieces)}] if pieces else []
        return Item("reasoning", item, pieces, head_tokens=thoughts)

    def _named(self, label: str, prefix: str | None = None) -> str:
        return f"{prefix or label}_{derive(self.seed, 'item', label).hex()[:50]}"

    def _count(self, question: Question, made: Said, earlier: int) -> Tokens:
        prompt = openai_response_input.prompt_tokens(self.body)
        cached = question.cache.by_prefix(self.model, openai_response_input.prompt_bytes(self.body), prompt)
        written = cached.write_5m if writes_cache(str(self.body["model"])) else 0
        return Tokens(
            input=prompt + earlier + _SEARCH_TOKENS * self._searches - cached.read - written,
            cache_read=cached.read,
            cache_write_5m=written,
            output=made.visible,
            reasoning=made.thoughts,
            searches=self._searches,
        )

    def _usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = broken(usage_of(self.tokens), self.fault)
        return usage

    def _reasoning(self) -> dict[str, Any]:
        asked = self.body.get("reasoning")
        given = asked if isinstance(asked, Mapping) else {}
        effort = given.get("effort") or ("medium" if reasons(str(self.body["model"])) else None)
        return {"effort": effort, "summary": given.get("summary")}


def sealed(seed: bytes) -> str:
    """Return content that only the API can read."""
    content = b"".join(derive(seed, "sealed", part) for part in range(8))
    return f"gAAAAA{base64.urlsafe_b64encode(content).decode()}"


def usage_of(tokens: Tokens) -> dict[str, Any]:
    """Return the counts as a response reports them: what was cached is in the input, thoughts are in the output."""
    prompt = tokens.input + tokens.cache_read + tokens.cache_write_5m
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write_5m},
        "output_tokens": tokens.produced,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": prompt + tokens.produced,
    }


def _text_of(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("text")
    return {"format": {"type": "text"}, "verbosity": "medium"} | (given if isinstance(given, dict) else {})


_NO_IMAGES = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "total_tokens": 0,
}
