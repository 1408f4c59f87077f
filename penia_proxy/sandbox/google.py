"""
Answer as Gemini's API does: contents, whole and streamed, embeddings, token counts, models.

Rules: each chunk of a stream carries the usage so far and is one token; events end with CRLF; counts of 0 are left out;
thoughts are on top of the candidates. Sources: recorded answers of the API for key order, layout and headers; the types
of the ``google-genai`` SDK 3.4.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question, broken, count_of, objects_in
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.embeddings import vector
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.schemas import arguments_of
from penia_proxy.sandbox.words import (
    BYTES_PER_TOKEN,
    TOKENS_PER_MESSAGE,
    canonical,
    derive,
    identifier,
    number,
    pieces,
    speech,
    tokens_of,
)

MODELS = ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-3-flash-preview", "gemini-embedding-2")

TOKENS_PER_IMAGE = 258
THOUGHTS = 48
"""How long a model thinks that does by default."""

DIMENSIONS = 3072

_THINKS = re.compile(r"gemini-(2\.5-(flash(?!-lite)|pro)|[3-9])")

_STATUSES: Mapping[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "API key not valid. Please pass a valid API key."),
    402: ("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


def whole(question: Question) -> Answer:
    """Answer ``generateContent``. Raises Refused."""
    return _Content(question).answer(stream=False)


def stream(question: Question) -> Answer:
    """Answer ``streamGenerateContent``. Raises Refused."""
    return _Content(question).answer(stream=True)


def embedding(question: Question) -> Answer:
    """Answer ``embedContent``. Raises Refused."""
    made, tokens = _embedded(question, [question.body])
    return _counted_answer(question, {"embedding": made[0]}, tokens)


def embeddings(question: Question) -> Answer:
    """Answer ``batchEmbedContents``. Raises Refused."""
    made, tokens = _embedded(question, objects_in(question.body, "requests"))
    return _counted_answer(question, {"embeddings": made}, tokens)


def count(question: Question) -> Answer:
    """Answer ``countTokens``."""
    return json_answer(question.seed, {"totalTokens": prompt_tokens(question.body)}, NO_TOKENS)


def models(question: Question) -> Answer:
    """Answer ``GET models``."""
    return json_answer(question.seed, {"models": [_model(name) for name in MODELS]}, NO_TOKENS)


def model(question: Question) -> Answer:
    """Answer ``GET models/{}``. Raises Refused."""
    (name,) = question.values
    if name not in MODELS:
        raise Refused(404, f"models/{name[:64]} is not found")
    return json_answer(question.seed, _model(name), NO_TOKENS)


def headers(content_type: str) -> list[tuple[str, str]]:
    """Return an answer's headers."""
    return [
        ("Content-Type", content_type),
        ("Vary", "Origin"),
        ("Vary", "X-Origin"),
        ("Vary", "Referer"),
        ("Server", "scaffolding on HTTPServer2"),
        ("X-XSS-Protection", "0"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("X-Content-Type-Options", "nosniff"),
    ]


def json_answer(seed: bytes, content: Mapping[str, Any], tokens: Tokens, *, model: str | None = None) -> Answer:
    """Return a body as the API lays it out: two spaces of indentation and a newline at the end."""
    data = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    return Answer(
        status=200,
        headers=headers("application/json; charset=UTF-8"),
        pieces=[Piece(data, tokens.produced)],
        tokens=tokens,
        request_id=identifier("", derive(seed, "response"), 22),
        served_model=model,
    )


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
    sent = headers("application/json; charset=UTF-8")
    if retry_after_s is not None:
        sent.append(("Retry-After", str(retry_after_s)))
    data = json.dumps(_error_body(status, message), indent=2) + "\n"
    return Answer(
        status=status, headers=sent, pieces=[Piece(data.encode())], request_id=identifier("", derive(seed, "e"), 22)
    )


def stream_error(seed: bytes) -> bytes:  # noqa: ARG001 -- all providers' functions are called alike
    """Return the event that ends a stream which fails after its beginning."""
    return _event(_error_body(503, None))


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return the input tokens: never more than the body's canonical JSON has bytes."""
    contents = objects_in(body, "contents")
    system = body.get("systemInstruction")
    parts = [part for one in (*contents, system) if isinstance(one, Mapping) for part in objects_in(one, "parts")]
    total = TOKENS_PER_MESSAGE * len(contents) + sum(map(_part_tokens, parts))
    if body.get("tools"):
        total += len(orjson.dumps(body["tools"])) // BYTES_PER_TOKEN
    return min(total, len(canonical(body)))


class _Content:
    """One answer with its candidates. Strictly private."""

    def __init__(self, question: Question) -> None:
        body = question.body
        contents = objects_in(body, "contents")
        if not contents:
            raise Refused(400, "* GenerateContentRequest.contents: contents is not specified")
        config = body.get("generationConfig")
        config = config if isinstance(config, Mapping) else {}
        self._seed = question.seed
        self._fault = question.behaviour.usage
        self._no_end = question.behaviour.no_end
        (self._model,) = question.values
        cap = count_of(config, "maxOutputTokens", 1)
        self._thought = self._thoughts(question, config, cap)
        left = None if cap is None else cap - self._thought
        count = count_of(config, "candidateCount", 1, 8) or 1
        function = _called(body, contents)
        self._function = function["name"] if function else None
        self._arguments = arguments_of(function.get("parameters"), self._seed) if function else {}
        wanted = question.behaviour.output_tokens
        self._said: list[list[str]] = []
        self._cut: list[bool] = []
        for index in range(count):
            seed = derive(self._seed, "candidate", index)
            said = speech(seed, number(seed, "length", 12, 60) if wanted is None else wanted)
            said = pieces(json.dumps(self._arguments)) if function else said
            kept = said if left is None or function else said[:left]
            self._said.append(kept)
            self._cut.append(len(kept) < len(said))
        visible = sum(map(len, self._said))
        self._tokens = Tokens(input=prompt_tokens(body), output=visible, reasoning=self._thought)

    def answer(self, *, stream: bool) -> Answer:
        if not stream:
            whole = self._chunk([self._candidate(index, said, end=True) for index, said in enumerate(self._said)])
            return json_answer(self._seed, whole, self._tokens, model=self._model)
        return Answer(
            status=200,
            headers=[*headers("text/event-stream"), ("Content-Disposition", "attachment")],
            pieces=self._events(),
            streamed=True,
            tokens=self._tokens,
            request_id=identifier("", derive(self._seed, "response"), 22),
            served_model=self._model,
        )

    def _thoughts(self, question: Question, config: Mapping[str, Any], cap: int | None) -> int:
        if not _THINKS.match(self._model):
            return 0
        thinking = config.get("thinkingConfig")
        budget = thinking.get("thinkingBudget") if isinstance(thinking, Mapping) else None
        wanted = budget if isinstance(budget, int) and budget >= 0 else THOUGHTS
        if question.behaviour.reasoning_tokens is not None:
            wanted = question.behaviour.reasoning_tokens
        return wanted if cap is None else min(wanted, cap)

    def _candidate(self, index: int, said: list[str], *, end: bool) -> dict[str, Any]:
        part: dict[str, Any] = {"text": "".join(said)}
        if self._function is not None:
            part = {"functionCall": {"name": self._function, "args": self._arguments}}
        candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}}
        if end and not self._no_end:
            candidate["finishReason"] = "MAX_TOKENS" if self._cut[index] else "STOP"
        return candidate | {"index": index}

    def _chunk(self, candidates: list[dict[str, Any]], made: int | None = None) -> dict[str, Any]:
        chunk: dict[str, Any] = {"candidates": candidates}
        if self._fault != "omit":
            made = self._tokens.output if made is None else made
            usage = _counted(self._tokens.input, made, self._thought)
            chunk["usageMetadata"] = None if self._fault == "null" else broken(usage, self._fault)
        response = identifier("", derive(self._seed, "response"), 22)
        return {**chunk, "modelVersion": self._model, "responseId": response}

    def _events(self) -> Iterator[Piece]:
        made = 0
        thought = self._thought
        for index, said in enumerate(self._said):
            steps = [said] if self._function is not None else [[piece] for piece in said] or [[]]
            for step, text in enumerate(steps):
                made += len(text)
                candidate = self._candidate(index, text, end=step == len(steps) - 1)
                yield Piece(_event(self._chunk([candidate], made)), len(text) + thought)
                thought = 0


def _called(body: Mapping[str, Any], contents: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the function to call: the first, unless the last content is its result."""
    declared = [one for tool in objects_in(body, "tools") for one in objects_in(tool, "functionDeclarations")]
    answered = any("functionResponse" in part for part in objects_in(contents[-1], "parts"))
    return next((one for one in declared if isinstance(one.get("name"), str)), None) if not answered else None


def _embedded(question: Question, asked: list[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], Tokens]:
    (model,) = question.values
    made = []
    given = 0
    for one in asked:
        content = one.get("content")
        if not isinstance(content, Mapping):
            raise Refused(400, "* EmbedContentRequest.content: content is not specified")
        given += min(prompt_tokens({"contents": [content]}), len(canonical(one)))
        most = count_of(one, "outputDimensionality", 1, DIMENSIONS) or DIMENSIONS
        made.append({"values": vector(derive(model.encode(), canonical(content)), most)})
    return made, Tokens(input=given)


def _counted_answer(question: Question, said: dict[str, Any], tokens: Tokens) -> Answer:
    fault = question.behaviour.usage
    if fault != "omit":
        said["usageMetadata"] = broken(_counted(tokens.input), fault)
    return json_answer(question.seed, said, tokens, model=question.values[0])


def _counted(prompt: int, made: int = 0, thought: int = 0) -> dict[str, Any]:
    counts = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": made,
        "thoughtsTokenCount": thought,
        "totalTokenCount": prompt + made + thought,
    }
    details = {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}]}
    return {name: count for name, count in counts.items() if count} | details


def _part_tokens(part: Mapping[str, Any]) -> int:
    if "text" in part:
        return tokens_of(str(part["text"]))
    return TOKENS_PER_IMAGE if "inlineData" in part else len(orjson.dumps(part)) // BYTES_PER_TOKEN


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\r\n\r\n"


def _error_body(status: int, message: str | None) -> dict[str, Any]:
    name, usual = _STATUSES.get(status, _STATUSES[400] if status < 500 else _STATUSES[500])
    return {"error": {"code": status, "message": message or usual, "status": name}}


def _model(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["embedContent"] if "embedding" in name else ["generateContent", "countTokens"],
    }
