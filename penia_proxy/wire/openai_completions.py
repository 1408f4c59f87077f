"""
Read OpenAI's legacy completions, Mistral's fill-in-the-middle, embeddings and reranking.

Its one job: what these calls ask for; their answers are read as chat's are, whose usage they share.
Rules: a completion writes 16 tokens where no cap is sent; ``n`` and ``best_of`` multiply what is billed, whichever is
larger, and each prompt of a list has its own. Sources: wire_formats.md §1.1; openai-python 3.54.0's types.
"""

from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import count, flag, read_object, set_member, text_or_none
from penia_proxy.wire.call import Call, Request
from penia_proxy.wire.content import text_of
from penia_proxy.wire.families import OPENAI, Family
from penia_proxy.wire.openai_chat import CHOICES_MAX, asked_model, asking_for_usage

COMPLETION_TOKENS_DEFAULT = 16
"""What a completion writes at most where ``max_tokens`` is left out (openai-python 3.54.0, CompletionCreateParams)."""


def completions_call(request: Request, family: Family = OPENAI) -> Call:
    """Return the call, with usage asked for where it streams and must be asked. Raises InvalidRequest."""
    members = read_object(request.body)
    model = asked_model(members, request, family)
    stream = flag(members, "stream")
    body, changed = asking_for_usage(members, request.body, stream=stream and family.asks_for_usage)
    prompts = _prompts(members.get("prompt"))
    cap = count(members, "max_tokens", least=0)
    if cap is None and family is OPENAI:
        cap = COMPLETION_TOKENS_DEFAULT
    each = max(count(members, "n", most=CHOICES_MAX) or 1, count(members, "best_of", most=CHOICES_MAX) or 1)
    return Call(
        operation=request.operation,
        model=model,
        stream=stream,
        # Token ids take two bytes of JSON at least, so the bytes bound these as well. `echo` bills the prompt once.
        size=Size(
            text_bytes=len(request.body),
            messages=prompts,
            output_cap=cap,
            choices=each * prompts,
            service_tier=text_or_none(members, "service_tier"),
        ),
        body=body,
        text=lambda: text_of([members.get("prompt"), members.get("suffix")]),
        changed=changed,
        strip_usage=bool(changed),
        cuttable=stream,
        capped=lambda tokens: set_member(body, "max_tokens", tokens),
    )


def embeddings_call(request: Request, family: Family = OPENAI) -> Call:
    """Return a call that has input alone. Raises InvalidRequest."""
    members = read_object(request.body)
    model = asked_model(members, request, family)
    if flag(members, "stream"):
        raise InvalidRequest("Embeddings do not stream.")
    given = members.get("input")
    size = len(request.body)
    documents = members.get("documents")
    if isinstance(documents, list):
        # A reranker reads the query once with every document.
        size += len(str(members.get("query") or "").encode("utf-8", "surrogatepass")) * len(documents)
    # Input may be token ids: each takes two bytes of JSON at least ("1,"), so the bytes bound these as well.
    return Call(
        operation=request.operation,
        model=model,
        stream=False,
        size=Size(text_bytes=size, messages=len(given) if isinstance(given, list) else 1, no_output=True),
        body=request.body,
        text=lambda: text_of([given, members.get("query"), documents]),
    )


def _prompts(prompt: Any) -> int:
    """Return how many prompts there are: a list of numbers is one prompt in token ids."""
    if not isinstance(prompt, list) or not prompt or all(isinstance(token, int) for token in prompt):
        return 1
    return len(prompt)
