"""
Answer Cohere's ``POST /v2/embed`` and ``/v2/rerank``.

Rules: texts are billed by their tokens, a reranking by the search, of up to a hundred documents each. Sources: the
``cohere`` SDK's ``v2``, and recorded answers; for the search, https://docs.cohere.com/docs/rerank-overview.
"""

from typing import Any

from penia_proxy.sandbox import cohere
from penia_proxy.sandbox.answer import Answer, Question, broken, count_of, model_of
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.embeddings import vector
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import canonical, derive, number, tokens_of

DIMENSIONS = 1536

DOCUMENTS_PER_SEARCH = 100


def embed(question: Question) -> Answer:
    """Return vectors. Raises Refused."""
    body = question.body
    model = model_of(body)
    texts = body.get("texts")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "at least one of texts, images or inputs must be specified")
    if body.get("embedding_types") not in (None, ["float"]):
        raise Refused(400, "this sandbox has embeddings of the type float alone")
    most = count_of(body, "output_dimension", 1, DIMENSIONS) or DIMENSIONS
    made = [vector(derive(model.encode(), text), most) for text in texts]
    tokens = Tokens(input=min(sum(map(tokens_of, texts)), len(canonical(body))))
    said = {"id": cohere.name_of(question.seed), "texts": texts, "embeddings": {"float": made}}
    said |= _meta(question, {"input_tokens": tokens.input, "image_tokens": 0})
    said["response_type"] = "embeddings_by_type"
    return cohere.json_answer(question.seed, said, tokens, model=model)


def rerank(question: Question) -> Answer:
    """Return documents in the order of their worth. Raises Refused."""
    body = question.body
    model = model_of(body)
    documents = body.get("documents")
    if not isinstance(documents, list) or not documents or not isinstance(body.get("query"), str):
        raise Refused(400, "query and documents must be specified")
    most = count_of(body, "top_n", 1) or len(documents)
    worth = [number(derive(question.seed, index), "worth", 1, 999_999) / 1_000_000 for index in range(len(documents))]
    ranked = sorted(range(len(documents)), key=lambda index: -worth[index])[:most]
    tokens = Tokens(searches=-(-len(documents) // DOCUMENTS_PER_SEARCH))
    results = [{"index": index, "relevance_score": worth[index]} for index in ranked]
    said = {"id": cohere.name_of(question.seed), "results": results}
    return cohere.json_answer(
        question.seed, said | _meta(question, {"search_units": tokens.searches}), tokens, model=model
    )


def _meta(question: Question, billed: dict[str, Any]) -> dict[str, Any]:
    """Return the ``meta`` member, with what is billed as the behaviour has it."""
    fault = question.behaviour.usage
    meta: dict[str, Any] = {"api_version": {"version": "2"}}
    if fault != "omit":
        meta["billed_units"] = None if fault == "null" else broken(billed, fault)
    return {"meta": meta}
