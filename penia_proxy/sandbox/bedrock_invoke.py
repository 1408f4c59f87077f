"""
Answer Bedrock's InvokeModel, whole and as an event stream: each vendor's own body.

Rules: the headers of a whole answer count as its body does; the last chunk of a stream has the metrics. A vendor is
recognised by the model's id, after a region's prefix or none. Sources: recorded answers; Amazon's "Inference request
parameters and response fields" (https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import orjson

from penia_proxy.sandbox import anthropic_messages, bedrock
from penia_proxy.sandbox.answer import Answer, Piece, Question, broken, count_of
from penia_proxy.sandbox.bedrock_converse import Converse, streamed
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.embeddings import vector
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.speech import Said, Wish, said
from penia_proxy.sandbox.words import canonical, derive, tokens_of

DIMENSIONS = 1024

_PING = b'"type": "ping"'
"""An event of Anthropic's own streams that is in none of Bedrock's."""

METRICS = "amazon-bedrock-invocationMetrics"


class _Vendor(Protocol):
    """How one vendor's models answer."""

    def __call__(self, question: Question, *, is_stream: bool) -> Answer: ...


def whole(question: Question) -> Answer:
    """Answer ``invoke``. Raises Refused."""
    return _vendor_of(question)(question, is_stream=False)


def stream(question: Question) -> Answer:
    """Answer ``invoke-with-response-stream``. Raises Refused."""
    return _vendor_of(question)(question, is_stream=True)


def _vendor_of(question: Question) -> _Vendor:
    (model,) = question.values
    for start, vendor in _VENDORS.items():
        if model.startswith(start) or model.partition(".")[2].startswith(start):
            return vendor
    raise Refused(404, "Could not resolve the foundation model from the provided model identifier.")


def _anthropic(question: Question, *, is_stream: bool) -> Answer:
    """Answer as Anthropic does, whose model has neither region nor vendor in its name there."""
    (name,) = question.values
    own = name.partition("anthropic.")[2].rpartition("-v")[0]
    body = {**question.body, "model": own, "stream": is_stream}
    answer = anthropic_messages.answer(replace(question, body=body))
    tokens = answer.tokens
    if is_stream:
        objects = (replace(piece, data=_data_of(piece.data)) for piece in answer.pieces if _PING not in piece.data)
        wrapped = _chunks(question, objects, tokens)
        sent = bedrock.headers(question.seed, bedrock.EVENT_STREAM)
    else:
        wrapped = iter(answer.pieces)
        sent = [
            *bedrock.headers(question.seed, "application/json"),
            *((f"{bedrock.HEADER}{kind}", str(amount)) for kind, amount in _counted(tokens).items()),
        ]
    return replace(
        answer, headers=sent, pieces=wrapped, request_id=bedrock.request_id(question.seed), served_model=name
    )


def _nova(question: Question, *, is_stream: bool) -> Answer:
    """Answer as Nova does: a conversation in the words of Converse."""
    made = Converse(question)
    if not is_stream:
        content = {name: one for name, one in made.whole().items() if name != "metrics"}
        counted = _counted(made.tokens)
        return bedrock.json_answer(question.seed, content, made.tokens, model=made.model, counted=counted)
    inner = (Piece(orjson.dumps({kind: content}), tokens) for kind, content, tokens in made.events())
    return streamed(question, made, _chunks(question, inner, made.tokens))


def _llama(question: Question, *, is_stream: bool) -> Answer:
    """Answer as Llama does: a prompt, a generation, and counts at the top."""
    body, (model,) = question.body, question.values
    prompt = str(body.get("prompt") or "")
    made = said(question.seed, Wish(cap=count_of(body, "max_gen_len", 1), length=question.behaviour.output_tokens))
    tokens = Tokens(input=min(tokens_of(prompt), len(canonical(body))), output=made.visible)
    counts = {"prompt_token_count": tokens.input, "generation_token_count": tokens.output}
    fault = question.behaviour.usage
    shown = dict.fromkeys(counts) if fault in ("omit", "null") else broken(counts, fault)
    if not is_stream:
        content = {"generation": "".join(made.text)} | shown | {"stop_reason": made.end}
        return bedrock.json_answer(question.seed, content, tokens, model=model, counted=_counted(tokens))
    return Answer(
        status=200,
        headers=bedrock.headers(question.seed, bedrock.EVENT_STREAM),
        pieces=_chunks(question, _llama_pieces(made, shown), tokens),
        streamed=True,
        tokens=tokens,
        request_id=bedrock.request_id(question.seed),
        served_model=model,
    )


def _llama_pieces(made: Said, counts: Mapping[str, Any]) -> Iterator[Piece]:
    for text in made.text:
        yield Piece(orjson.dumps({"generation": text, **dict.fromkeys(counts), "stop_reason": None}), 1)
    yield Piece(orjson.dumps({"generation": "", **counts, "stop_reason": made.end}))


def _titan_embedding(question: Question, *, is_stream: bool) -> Answer:
    """Answer as Titan's embeddings do."""
    body, (model,) = question.body, question.values
    text = body.get("inputText")
    if is_stream or not isinstance(text, str):
        raise Refused(400, "Malformed input request, please reformat your input and try again.")
    size = count_of(body, "dimensions", 1, DIMENSIONS) or DIMENSIONS
    tokens = Tokens(input=min(tokens_of(text), len(canonical(body))))
    said = {"embedding": vector(derive(model.encode(), text), size), "inputTextTokenCount": tokens.input}
    counted = {"input-token-count": tokens.input}
    return bedrock.json_answer(question.seed, said, tokens, model=model, counted=counted)


_VENDORS: Mapping[str, _Vendor] = {
    "anthropic.": _anthropic,
    "amazon.nova": _nova,
    "amazon.titan-embed": _titan_embedding,
    "meta.": _llama,
}


def _chunks(question: Question, pieces: Iterator[Piece], tokens: Tokens) -> Iterator[Piece]:
    """Yield a vendor's JSON objects as events; the last has the metrics in it, unless the end is to be missing."""
    whole = pieces if question.behaviour.no_end else _with_metrics(pieces, tokens)
    return (replace(piece, data=bedrock.chunk(piece.data)) for piece in whole)


def _with_metrics(pieces: Iterator[Piece], tokens: Tokens) -> Iterator[Piece]:
    held: Piece | None = None
    for piece in pieces:
        if held is not None:
            yield held
        held = piece
    if held is not None:
        metrics = {"inputTokenCount": tokens.input, "outputTokenCount": tokens.produced}
        written = tokens.cache_write_5m + tokens.cache_write_1h
        if tokens.cache_read or written:
            metrics |= {"cacheReadInputTokenCount": tokens.cache_read, "cacheWriteInputTokenCount": written}
        metrics |= {"invocationLatency": 3042, "firstByteLatency": 791}
        yield replace(held, data=orjson.dumps(orjson.loads(held.data) | {METRICS: metrics}))


def _data_of(event: bytes) -> bytes:
    """Return the JSON of an event of Anthropic's."""
    return event.partition(b"data: ")[2].strip()


def _counted(tokens: Tokens) -> dict[str, int]:
    return {
        "cache-read-input-token-count": tokens.cache_read,
        "cache-write-input-token-count": tokens.cache_write_5m + tokens.cache_write_1h,
        "input-token-count": tokens.input,
        "output-token-count": tokens.produced,
    }
