"""
Answer OpenAI's ``/v1/responses``: made, streamed, in the background, read again, cancelled, deleted, compacted.

Rules: a response that is made in the background is billed once, whoever reads it how often; one that is stored is
read again at no cost. Reading a response in the background takes it a step on (see `work`).
"""

from dataclasses import replace

from penia_proxy.sandbox import openai, openai_response_input
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Piece, Question, broken
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.openai_response import Response, sealed, usage_of
from penia_proxy.sandbox.openai_response_events import events, failure
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import derive, number


def answer(question: Question) -> Answer:
    """Return the answer to the POST. Raises Refused."""
    body = question.body
    openai_response_input.checked(body)
    earlier = body.get("previous_response_id")
    known = question.store.get(earlier, Response).context_tokens if isinstance(earlier, str) else 0
    stored = body.get("store") is not False or body.get("background") is True
    seed = question.store.fresh(question.seed) if stored else question.seed
    response = Response(question, seed, known)
    if stored:
        question.store.keep(response.id, response)
    shown = _shown(question, response, stream=body.get("stream") is True, billed=not response.background)
    return replace(shown, later=response.charges)


def retrieve(question: Question) -> Answer:
    """Return a stored response, whole or as events again. Raises Refused."""
    response = question.store.get(question.values[0], Response)
    stream = question.query.get("stream") == "true"
    if not stream:
        response.look()
    return _shown(question, response, stream=stream)


def cancel(question: Question) -> Answer:
    """Stop a response in the background. Raises Refused."""
    response = question.store.get(question.values[0], Response)
    if not response.background:
        raise Refused(400, "Cannot cancel a synchronous response.", code="invalid_request_error")
    response.cancel()
    return _shown(question, response, stream=False)


def delete(question: Question) -> Answer:
    """Forget a response. Raises Refused."""
    name = question.values[0]
    question.store.drop(name, Response)
    said = {"id": name, "object": "response", "deleted": True}
    return openai.json_answer(question.seed, said, NO_TOKENS, model=None, tier=None)


def count(question: Question) -> Answer:
    """Return the answer to ``input_tokens``. Raises Refused."""
    openai_response_input.checked(question.body)
    said = {"object": "response.input_tokens", "input_tokens": openai_response_input.prompt_tokens(question.body)}
    return openai.json_answer(question.seed, said, NO_TOKENS, model=None, tier=None)


def compact(question: Question) -> Answer:
    """Return a conversation made short: one sealed item. Raises Refused."""
    body, seed = question.body, question.seed
    openai_response_input.checked(body)
    model = served_name(str(body["model"]))
    tokens = Tokens(input=openai_response_input.prompt_tokens(body), output=number(seed, "compacted", 40, 200))
    item = {"id": f"cmp_{derive(seed, 'item').hex()[:50]}", "type": "compaction", "encrypted_content": sealed(seed)}
    said = {
        "id": f"resp_{derive(seed, 'response').hex()[:50]}",
        "object": "response.compaction",
        "created_at": openai.created(seed),
        "output": [item],
        "usage": broken(usage_of(tokens), question.behaviour.usage),
    }
    return openai.json_answer(seed, said, tokens, model=model, tier=None)


def _shown(question: Question, response: Response, *, stream: bool, billed: bool = False) -> Answer:
    """Return the response as it is now, with what it is billed if this answer is what bills it."""
    tokens = response.tokens if billed else NO_TOKENS
    if not stream:
        return openai.json_answer(question.seed, response.as_object(), tokens, model=response.model, tier=response.tier)
    after = question.query.get("starting_after", "")
    pieces = events(response, after=int(after) if after.isdigit() else -1, no_end=question.behaviour.no_end)
    fails_at = question.behaviour.error_after_chunks
    return Answer(
        status=200,
        headers=openai.headers(question.seed, "text/event-stream; charset=utf-8"),
        pieces=pieces if billed else (Piece(piece.data) for piece in pieces),
        streamed=True,
        tokens=tokens,
        request_id=openai.request_id(question.seed),
        served_model=response.model,
        service_tier=response.tier,
        failure=None if fails_at is None else failure(fails_at),
    )
