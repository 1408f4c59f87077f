"""
Answer ``POST /v1/embeddings`` of OpenAI and its relatives.

Rule: a vector has unit length (to six digits), and every number in it is exact in 32 bits, so that the float form and
the base64 form are equal. Source: the ``openai`` SDK's ``types/create_embedding_response.py``, and recorded answers.
"""

import base64
import math
import struct
from collections.abc import Mapping
from typing import Any

from penia_proxy.sandbox.answer import Answer, Question, broken, count_of, model_of
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.manner import OPENAI, Manner, counts, ordered
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import canonical, derive, tokens_of

INPUTS_MAX = 2048
"""The API's own limit of one request."""

_SCALE = 1 << 20
"""Numbers are multiples of 1/2²⁰: at most 21 significant bits, and a float of 32 bits has 24."""


def answer(question: Question, manner: Manner = OPENAI) -> Answer:
    """Return the answer. Raises Refused."""
    body = question.body
    model = model_of(body)
    inputs = _inputs(body)
    most = manner.dimensions.get(model, manner.dimensions_default)
    dimensions = count_of(body, "dimensions", 1, most) or most
    as_text = body.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(inputs):
        numbers = vector(derive(model.encode(), repr(text)), dimensions)
        embedding = base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode() if as_text else numbers
        entry = {"object": "embedding", "index": index, "embedding": embedding}
        data.append(ordered(manner.embedding, entry))
    tokens = Tokens(input=min(sum(_tokens(text) for text in inputs), len(canonical(body))))
    content: dict[str, Any] = {"id": manner.completion_id(question.seed), "object": "list", "data": data}
    fault = question.behaviour.usage
    usage = broken(ordered(manner.embedding_usage, counts(tokens)), fault)
    content["model"] = model
    if fault != "omit":
        content["usage"] = None if fault == "null" else usage
    shown = ordered(manner.embeddings, content)
    if fault == "twice":
        shown["usage#2"] = usage
    return manner.layout.json_answer(question.seed, shown, tokens, model=model, tier=None)


def _inputs(body: Mapping[str, Any]) -> list[str | list[int]]:
    """Return the inputs one by one: texts, or lists of token numbers. Raises Refused."""
    given = body.get("input")
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list) or not 1 <= len(given) <= INPUTS_MAX:
        raise Refused(400, f"'input' is a text or a list of 1 to {INPUTS_MAX} of them.", param="input")
    if not all(isinstance(text, str | list) and text for text in given):
        raise Refused(400, "'$.input' is invalid.", param="input")
    return given


def _tokens(text: str | list[int]) -> int:
    return tokens_of(text) if isinstance(text, str) else len(text)


def vector(seed: bytes, dimensions: int) -> list[float]:
    """Return a unit vector, the same for the same seed."""
    blocks = -(-dimensions // 16)
    raw = b"".join(derive(seed, block) for block in range(blocks))
    numbers = struct.unpack_from(f"<{dimensions}h", raw)
    length = math.sqrt(sum(value * value for value in numbers)) or 1.0
    return [round(value / length * _SCALE) / _SCALE for value in numbers]
