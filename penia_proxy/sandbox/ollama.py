"""
Answer as Ollama does: chat, generation, embeddings, in its own format.

Rules: an answer streams, a line of JSON a piece, unless the request says not to; the last line has the counts; thoughts
are inside them. No key is asked for. Sources: recorded answers for names and their order; the types of the ``ollama``
SDK 0.6.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from penia_proxy.sandbox import openai
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question, broken, count_of, model_of, turns_of
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.embeddings import vector
from penia_proxy.sandbox.openai_input import chosen_tools, prompt_tokens
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.relatives import THINKERS, THOUGHTS
from penia_proxy.sandbox.speech import Tool, Wish, said
from penia_proxy.sandbox.words import canonical, derive, number, speech, tokens_of

MODELS = ("llama3", "qwen3", "embeddinggemma")

DIMENSIONS = 768

_NO_CAP = (-1, -2)
"""``num_predict``: without end, and until the context is full (ollama's modelfile reference)."""


def chat(question: Question) -> Answer:
    """Answer ``/api/chat``. Raises Refused."""
    body = question.body
    turns_of(body)
    tools = [Tool(str(tool.get("name", "")), tool.get("parameters")) for tool in chosen_tools(body)]
    return _Answer(question, "message", prompt_tokens(_counted(body)), tools).answer()


def generate(question: Question) -> Answer:
    """Answer ``/api/generate``. Raises Refused."""
    body = question.body
    text = "".join(str(body.get(name) or "") for name in ("system", "prompt", "suffix"))
    return _Answer(question, "response", min(tokens_of(text), len(canonical(body))), []).answer()


def embed(question: Question) -> Answer:
    """Answer ``/api/embed``. Raises Refused."""
    body = question.body
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "invalid input type")
    model = model_of(body)
    tokens = Tokens(input=min(sum(map(tokens_of, texts)), len(canonical(body))))
    most = count_of(body, "dimensions", 1, DIMENSIONS) or DIMENSIONS
    made = [vector(derive(model.encode(), text), most) for text in texts]
    shown: dict[str, Any] = {
        "model": model,
        "embeddings": made,
        "total_duration": 14_143_917,
        "load_duration": 1_019_500,
    }
    return _json(question, shown | _reported(question, {"prompt_eval_count": tokens.input}), tokens, model)


def tags(question: Question) -> Answer:
    """Answer ``GET /api/tags``: the models."""
    listed = [
        {
            "name": f"{name}:latest",
            "model": f"{name}:latest",
            "modified_at": _written(question.seed, 0),
            "size": 1 << 32,
        }
        for name in MODELS
    ]
    return _json(question, {"models": listed}, NO_TOKENS, None)


def error(
    seed: bytes,
    status: int,
    message: str | None = None,
    *,
    param: str | None = None,  # noqa: ARG001 -- all providers' functions are called alike
    code: str | None = None,  # noqa: ARG001 -- the same
    retry_after_s: int | None = None,
) -> Answer:
    """Return an error."""
    headers = [("Content-Type", "application/json; charset=utf-8")]
    if retry_after_s is not None:
        headers.append(("Retry-After", str(retry_after_s)))
    data = orjson.dumps({"error": message or ("invalid request" if status < 500 else "internal server error")})
    return Answer(status=status, headers=headers, pieces=[Piece(data)], request_id=derive(seed, "request").hex()[:16])


def stream_error(seed: bytes) -> bytes:  # noqa: ARG001 -- all providers' functions are called alike
    """Return the line that ends a stream which fails after its beginning."""
    return b'{"error":"an error was encountered while running the model"}\n'


class _Answer:
    """One answer of a model. Strictly private."""

    def __init__(self, question: Question, member: str, prompt: int, tools: list[Tool]) -> None:
        """``member``: where the text is, in a ``message`` or plainly in ``response``."""
        body = question.body
        self._question = question
        self._seed = question.seed
        self._member = member
        self._model = model_of(body)
        options = body.get("options")
        options = options if isinstance(options, Mapping) else {}
        capped = options.get("num_predict") is not None and options["num_predict"] not in _NO_CAP
        form = body.get("format")
        stops = options.get("stop")
        self._said = said(
            self._seed,
            Wish(
                cap=count_of(options, "num_predict", 0) if capped else None,
                thoughts=self._thoughts(),
                tools=tools,
                form="schema" if isinstance(form, Mapping) else "object" if form == "json" else "text",
                schema=form,
                stops=[stop for stop in stops if isinstance(stop, str)] if isinstance(stops, list) else [],
                length=question.behaviour.output_tokens,
            ),
        )
        self._thought = speech(derive(self._seed, "thought"), self._said.thoughts)
        self._tokens = Tokens(input=prompt, output=self._said.visible + self._said.thoughts)

    def answer(self) -> Answer:
        """Return the whole or the streamed form."""
        if self._question.body.get("stream") is False:
            whole = self._line("".join(self._said.text), "".join(self._thought), calls=True)
            return _json(self._question, whole | self._end(), self._tokens, self._model)
        return Answer(
            status=200,
            headers=[("Content-Type", "application/x-ndjson")],
            pieces=self._lines(),
            streamed=True,
            tokens=self._tokens,
            request_id=derive(self._seed, "request").hex()[:16],
            served_model=self._model,
        )

    def _thoughts(self) -> int:
        asked = self._question.body.get("think")
        if not asked and (asked is False or not THINKERS.match(self._model)):
            return 0
        scripted = self._question.behaviour.reasoning_tokens
        return THOUGHTS if scripted is None else scripted

    def _line(self, text: str, thought: str = "", *, calls: bool = False, number: int = 0) -> dict[str, Any]:
        head = {"model": self._model, "created_at": _written(self._seed, number)}
        thinking = {"thinking": thought} if thought else {}
        if self._member == "response":
            return head | {"response": text} | thinking | {"done": False}
        message: dict[str, Any] = {"role": "assistant", "content": text} | thinking
        if calls and self._said.uses:
            message["tool_calls"] = [
                {"function": {"index": index, "name": use.name, "arguments": use.arguments}}
                for index, use in enumerate(self._said.uses)
            ]
        return head | {"message": message, "done": False}

    def _end(self) -> dict[str, Any]:
        """Return what the last line has more."""
        tokens = self._tokens
        reason = "length" if self._said.end == "length" else "stop"
        end: dict[str, Any] = {"done": True, "done_reason": reason}
        if self._member == "response":
            end["context"] = [number(self._seed, f"context/{place}", 1, 128_000) for place in range(8)]
        end |= {"total_duration": 10_000_000 * (tokens.output + 1), "load_duration": 1_534_053}
        counts = {
            "prompt_eval_count": tokens.input,
            "prompt_eval_duration": 177_983_000,
            "eval_count": tokens.output,
            "eval_duration": 9_000_000 * (tokens.output + 1),
        }
        return end | _reported(self._question, counts)

    def _lines(self) -> Iterator[Piece]:
        place = 0
        for place, (text, thought) in enumerate(
            [("", thought) for thought in self._thought] + [(text, "") for text in self._said.text], 1
        ):
            yield Piece(orjson.dumps(self._line(text, thought, number=place)) + b"\n", 1)
        if self._said.uses:
            made = sum(1 + len(use.written) for use in self._said.uses)
            yield Piece(orjson.dumps(self._line("", calls=True, number=place + 1)) + b"\n", made)
        if not self._question.behaviour.no_end:
            yield Piece(orjson.dumps(self._line("", number=place + 2) | self._end()) + b"\n")


def _reported(question: Question, counts: dict[str, int]) -> dict[str, Any]:
    """Return the counts as the behaviour has them; there is no object around them that could be null."""
    fault = question.behaviour.usage
    if fault == "omit":
        return {}
    if fault == "null":
        return dict.fromkeys(counts)
    shown: dict[str, Any] = broken(counts, fault)
    return shown


def _json(question: Question, content: Mapping[str, Any], tokens: Tokens, model: str | None) -> Answer:
    return Answer(
        status=200,
        headers=[("Content-Type", "application/json; charset=utf-8")],
        pieces=[Piece(orjson.dumps(content), tokens.produced)],
        tokens=tokens,
        request_id=derive(question.seed, "request").hex()[:16],
        served_model=model,
    )


def _written(seed: bytes, step: int) -> str:
    moment = datetime.fromtimestamp(openai.created(seed), UTC) + timedelta(milliseconds=10 * step)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _counted(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body with its format where OpenAI's has it, so that it is counted."""
    return {**body, "response_format": body.get("format")}
