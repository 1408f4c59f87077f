"""
Answer OpenAI's legacy ``POST /v1/completions``, streamed or whole, and Ollama's likeness of it.

Rules: without a cap an answer has 16 tokens; ``n`` answers are given for each prompt and ``best_of`` are made and
billed; one streamed piece is one token. Sources: the ``openai`` SDK's ``types/completion.py``, and recorded answers.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import orjson

from penia_proxy.sandbox import openai
from penia_proxy.sandbox.answer import Answer, Piece, Question, broken, count_of, model_of
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.manner import OPENAI, Manner, counts
from penia_proxy.sandbox.openai_input import CHOICES_MAX
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.speech import Said, Wish, said
from penia_proxy.sandbox.words import canonical, derive, identifier, tokens_of

CAP_DEFAULT = 16


def answer(question: Question, manner: Manner = OPENAI) -> Answer:
    """Return the answer. Raises Refused."""
    return _Completion(question, manner).answer()


class _Completion:
    """One completion. Strictly private."""

    def __init__(self, question: Question, manner: Manner) -> None:
        body = question.body
        self._question = question
        self._manner = manner
        self._model = model_of(body)
        prompts = _prompts(body)
        cap = count_of(body, "max_tokens", 0)
        given = count_of(body, "n", 1, CHOICES_MAX) or 1
        made = max(given, count_of(body, "best_of", 1, CHOICES_MAX) or 1)
        stop = body.get("stop")
        wish = Wish(
            cap=CAP_DEFAULT if cap is None else cap,
            stops=[stop] if isinstance(stop, str) else [text for text in stop or [] if isinstance(text, str)],
            length=question.behaviour.output_tokens,
        )
        tried = [
            [said(derive(question.seed, "choice", place, index), wish) for index in range(made)]
            for place in range(len(prompts))
        ]
        self._choices = [choice for group in tried for choice in group[:given]]
        prompt = min(sum(map(_tokens, prompts)), len(canonical(body)))
        self._unseen = sum(choice.visible for group in tried for choice in group[given:])
        self._tokens = Tokens(input=prompt, output=self._unseen + sum(choice.visible for choice in self._choices))

    def answer(self) -> Answer:
        """Return the whole or the streamed form."""
        layout, seed = self._manner.layout, self._question.seed
        if self._question.body.get("stream") is not True:
            return layout.json_answer(seed, self._whole(), self._tokens, model=self._model, tier=None)
        return Answer(
            status=200,
            headers=layout.headers(seed, "text/event-stream"),
            pieces=self._events(),
            streamed=True,
            tokens=self._tokens,
            request_id=layout.request_id(seed),
            served_model=self._model,
        )

    def _frame(self) -> dict[str, Any]:
        seed = self._question.seed
        head = {"id": identifier("cmpl-", seed, 29), "object": "text_completion", "created": openai.created(seed)}
        return head | {"model": self._model}

    def _usage(self) -> dict[str, Any]:
        changed: dict[str, Any] = broken(counts(self._tokens), self._question.behaviour.usage)
        return changed

    def _whole(self) -> dict[str, Any]:
        fault = self._question.behaviour.usage
        content = self._frame() | {
            "choices": [_choice(index, "".join(choice.text), choice.end) for index, choice in enumerate(self._choices)]
        }
        if fault != "omit":
            content["usage"] = None if fault == "null" else self._usage()
        return content | {"usage#2": self._usage()} if fault == "twice" else content

    def _events(self) -> Iterator[Piece]:
        body, fault = self._question.body, self._question.behaviour.usage
        options = body.get("stream_options")
        asked = isinstance(options, Mapping) and options.get("include_usage") is True and fault != "omit"
        frame = self._frame()
        unseen = self._unseen
        for turn in zip_longest(*map(_steps, self._choices)):
            for index, step in enumerate(turn):
                if step is not None:
                    text, end = step
                    chunk = frame | {"choices": [_choice(index, text, end)]} | ({"usage": None} if asked else {})
                    yield Piece(_event(chunk), int(bool(text)) + unseen)
                    unseen = 0
        if asked:
            yield Piece(_event(frame | {"choices": [], "usage": None if fault == "null" else self._usage()}))
        if not self._question.behaviour.no_end:
            yield Piece(b"data: [DONE]\n\n")


def _steps(choice: Said) -> Iterator[tuple[str, str | None]]:
    for piece in choice.text:
        yield piece, None
    yield "", choice.end


def _choice(index: int, text: str, end: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": end}


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _prompts(body: Mapping[str, Any]) -> list[str | list[int]]:
    """Return the prompts one by one: texts, or lists of token numbers. Raises Refused."""
    given = body.get("prompt")
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list) or not given or not all(isinstance(one, str | list) for one in given):
        raise Refused(400, "'prompt' is a text or a list of them.", param="prompt", code="invalid_type")
    return given


def _tokens(prompt: str | list[int]) -> int:
    return tokens_of(prompt) if isinstance(prompt, str) else len(prompt)
