"""How OpenAI's relatives differ, and that each difference is read."""

import json
from decimal import Decimal
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.config import KNOWN_FORMATS
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.dialects import DIALECTS
from penia_proxy.wire.families import FAMILIES

NAMES = [family.name for family in FAMILIES]


def call(name: str, operation: str = "chat", path_values: tuple[str, ...] = (), **members: Any) -> Call:
    return DIALECTS[name].call(Request(operation, json.dumps({"model": "m", **members}).encode(), path_values))


def read(name: str, answer: dict[str, Any] | list[dict[str, Any]], operation: str = "chat") -> Reading:
    """Read one answer, or the chunks of a stream byte by byte."""
    stream = isinstance(answer, list)
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in answer) if stream else b""
    asked = call(name, operation, stream=stream)
    meter = DIALECTS[name].meter(asked, AnswerHead("text/event-stream" if stream else "application/json"))
    for byte in body or json.dumps(answer).encode():
        meter.feed(bytes([byte]))
    meter.end()
    return meter.reading()


def tokens(prompt: int, completion: int, **members: Any) -> dict[str, Any]:
    return {
        "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        | members,
    }


def test_every_format_has_a_dialect() -> None:
    """What the configuration accepts can be spoken, and nothing else."""
    assert set(DIALECTS) == KNOWN_FORMATS


@pytest.mark.parametrize("name", NAMES)
def test_the_usual_usage_is_read_of_every_relative(name: str) -> None:
    """The last one of a stream counts: some send a growing one with every chunk."""
    chunks = [{"model": "m-1", **tokens(10, 1)}, {"model": "m-1", **tokens(10, 5)}]
    expected = Usage(input=15) if name == "voyageai" else Usage(input=10, output=5)

    assert read(name, chunks).parts == (("m-1", expected),)


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("deepseek", tokens(10, 5, prompt_cache_hit_tokens=8), Usage(input=2, cache_read=8, output=5)),
        ("together", tokens(10, 5, cached_tokens=8), Usage(input=2, cache_read=8, output=5)),
        ("mistral", tokens(10, 5, num_cached_tokens=8), Usage(input=2, cache_read=8, output=5)),
        (
            "writer",
            tokens(10, 5, prompt_token_details={"cached_tokens": 3}, completion_token_details={"reasoning_tokens": 2}),
            Usage(input=7, cache_read=3, output=3, reasoning=2),
        ),
        (
            "mistral",
            tokens(9, 5, prompt_tokens_details={"audio_tokens": 375}, total_tokens=389),
            Usage(input=9, input_audio=375, output=5),
        ),
        (
            "x-ai",
            tokens(10, 5, completion_tokens_details={"reasoning_tokens": 7}, total_tokens=22),
            Usage(input=10, output=5, reasoning=7),
        ),
        (
            "x-ai",
            tokens(10, 8, completion_tokens_details={"reasoning_tokens": 7}),
            Usage(input=10, output=1, reasoning=7),
        ),
        ("google-openai", tokens(35, 12, total_tokens=109), Usage(input=35, output=12, reasoning=62)),
        ("voyageai", {"usage": {"total_tokens": 43}}, Usage(input=43)),
    ],
)
def test_each_difference_is_read(name: str, answer: dict[str, Any], expected: Usage) -> None:
    """Where cached tokens stand, and what stands outside the totals."""
    assert read(name, answer).parts == ((None, expected),)


def test_groq_reports_beside_the_stream() -> None:
    """Unasked, in a member of its own."""
    usage = tokens(10, 5)["usage"]

    assert read("groq", [{"choices": [], "x_groq": {"usage": usage}}]).parts == ((None, Usage(input=10, output=5)),)


def test_a_compound_answer_bills_each_model() -> None:
    """Where the parts are the whole; else the whole is billed as one."""
    one, other = tokens(10, 5)["usage"], tokens(30, 1)["usage"]
    breakdown = {"models": [{"model": "a", "usage": one}, {"model": "b", "usage": other}]}

    whole = read("groq", {**tokens(40, 6), "usage_breakdown": breakdown})
    part = read("groq", {**tokens(50, 6), "usage_breakdown": breakdown})

    assert whole.parts == (("a", Usage(input=10, output=5)), ("b", Usage(input=30, output=1)))
    assert part.parts == ((None, Usage(input=50, output=6)),)


@pytest.mark.parametrize(
    ("name", "stated", "expected"),
    [
        ("openrouter", {"cost": 0.000222}, "0.000222"),
        ("openrouter", {"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0003}}, "0.0003"),
        ("perplexity", {"cost": {"total_cost": 0.00519}}, "0.00519"),
        ("x-ai", {"cost_in_usd_ticks": 6306000}, "0.0006306"),
        ("openai", {"cost": 5}, None),
        ("openrouter", {"cost": "5"}, None),
        ("openrouter", {"cost": -1}, None),
        ("openrouter", {"cost": True}, None),
        ("openrouter", {"cost": 1_000_001}, None),
        ("openrouter", {"cost": 1e300}, None),
        ("perplexity", {"cost": {"total_cost": 1e15}}, None),
        ("x-ai", {"cost_in_usd_ticks": 10**17}, None),
        ("x-ai", {"cost_in_usd_ticks": 10**16}, "1000000"),
    ],
)
def test_stated_money_is_read_where_it_is_stated(name: str, stated: dict[str, Any], expected: str | None) -> None:
    """And nowhere else; what is no amount is none."""
    assert read(name, tokens(10, 5, **stated)).cost_usd == (None if expected is None else Decimal(expected))


def test_the_money_of_a_response_is_read_too() -> None:
    """At the same place of the usage."""
    answer = {"usage": {"input_tokens": 2, "output_tokens": 3, "cost_in_usd_ticks": 10**10}}

    assert read("x-ai", answer, "responses").cost_usd == 1


@pytest.mark.parametrize("name", ["openai", "azure", "openai-compatible"])
def test_usage_is_asked_for_where_it_must_be(name: str) -> None:
    """A stream of theirs reports only when asked."""
    assert call(name, stream=True).changed == ("stream_options.include_usage",)


@pytest.mark.parametrize(("stated", "size"), [("low", "low"), ("vast", None), ({}, None), (None, None)])
def test_the_size_of_a_search_sets_its_fee(stated: Any, size: str | None) -> None:
    """Perplexity says how much its search took in, beside what it cost."""
    answered = read("perplexity", {"model": "sonar", **tokens(10, 5, search_context_size=stated)})

    assert answered.parts[0][1].search_size == size


@pytest.mark.parametrize("name", ["groq", "deepseek", "x-ai", "openrouter", "together", "perplexity", "mistral"])
def test_what_reports_unasked_is_sent_as_it_came(name: str) -> None:
    """Not a byte is changed."""
    assert call(name, stream=True).changed == ()


def test_azures_path_names_the_model() -> None:
    """Whatever the body says: Azure ignores it."""
    assert call("azure", path_values=("gpt-4o",), model="gpt-4o-mini").model == "gpt-4o"
    assert call("openai-compatible", path_values=("together",)).model == "m"


def test_azures_error_in_a_success_bills_nothing() -> None:
    """A content filter answers 200 with an error."""
    answer = read("azure", {"error": {"code": "content_filter", "message": "no"}})

    assert (answer.failed, answer.complete, answer.wrote) == (True, False, False)


@pytest.mark.parametrize(
    "members",
    [
        {"search_parameters": {"mode": "on"}},
        {"plugins": [{"id": "web"}]},
        {"model": "openai/gpt-4o:online"},
        {"models": ["a", "b"]},
        {"model": "openrouter/auto"},
        {"model": "groq/compound"},
    ],
)
def test_what_costs_more_than_it_shows_is_unbounded(members: dict[str, Any]) -> None:
    """Searches, other models, systems of models."""
    assert call("openrouter", **members).size.unbounded_why


def test_a_deferred_completion_is_refused() -> None:
    """Its bill is in no answer to the POST."""
    with pytest.raises(InvalidRequest, match="comes after the answer"):
        call("x-ai", deferred=True)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("openai", ("error", "code")),
        ("mistral", ("code",)),
        ("x-ai", ("code",)),
        ("openrouter", ("error", "code")),
        ("voyageai", ("detail",)),
    ],
)
def test_a_refusal_has_the_providers_form(name: str, path: tuple[str, ...]) -> None:
    """With our facts inside."""
    shape = DIALECTS[name].refusal(BudgetExceeded("Too much."), {"code": "budget_exceeded"}, "r-1")

    value: Any = shape.body
    for member in path:
        value = value[member]
    assert value in {"budget_exceeded", 402, "Too much."}
    assert "budget_exceeded" in json.dumps(shape.body)
    assert shape.headers == {"x-request-id": "r-1"}


@pytest.mark.parametrize("name", NAMES)
def test_no_path_is_both_free_and_billed(name: str) -> None:
    """A route says one thing."""
    routes = [(route.method, route.path) for route in DIALECTS[name].routes]

    assert len(routes) == len(set(routes))


def completion(**members: Any) -> Call:
    return call("openai", "completions", **members)


def test_a_completion_writes_16_tokens_unless_told() -> None:
    """OpenAI's default; another server's is not known."""
    assert completion(prompt="a").size.output_cap == 16
    assert completion(prompt="a", max_tokens=5).size.output_cap == 5
    assert call("openai-compatible", "completions", prompt="a").size.output_cap is None


def test_a_completion_writes_the_more_of_n_and_best_of_for_each_prompt() -> None:
    """Candidates that are thrown away are billed."""
    assert completion(prompt="a", n=2, best_of=5).size.choices == 5
    assert completion(prompt=["a", "b"], n=3).size.choices == 6
    assert completion(prompt=[1, 2, 3]).size.choices == 1


def test_a_completions_stream_is_asked_for_usage() -> None:
    """As chat is, and the chunk is taken out again."""
    asked = completion(prompt="a", stream=True)

    assert asked.strip_usage
    assert json.loads(asked.body)["stream_options"] == {"include_usage": True}


def test_a_reranker_reads_the_query_with_every_document() -> None:
    """So the query's bytes count once for each."""
    few = call("voyageai", "rerank", query="q" * 100, documents=["a"])
    many = call("voyageai", "rerank", query="q" * 100, documents=["a"] * 50)

    assert many.size.text_bytes - few.size.text_bytes >= 4900
    assert many.size.no_output


def test_images_report_text_and_images_apart() -> None:
    """Both ways; without details everything made is the image. Who wrote a vector image is another model's bill."""
    usage = {"input_tokens": 15, "input_tokens_details": {"image_tokens": 5}, "output_tokens": 400}
    asked = {"usage": usage, "svg_usage": {"model": "gpt-5", "input_tokens": 7, "output_tokens": 9, "total_tokens": 20}}
    meter = DIALECTS["openai"].meter(call("openai", "images", model="gpt-image-1"), AnswerHead("application/json"))
    meter.feed(json.dumps(asked).encode())
    meter.end()

    assert meter.reading().parts == (
        (None, Usage(input=10, input_image=5, output_image=400)),
        ("gpt-5", Usage(input=7, output=9, reasoning=4)),
    )


def test_an_image_stream_ends_with_its_bill() -> None:
    """Partial images come before it."""
    events = [
        {"type": "image_generation.partial_image", "b64_json": "AA"},
        {"type": "image_generation.completed", "usage": {"input_tokens": 3, "output_tokens": 4}},
    ]
    meter = DIALECTS["openai"].meter(
        call("openai", "images", model="gpt-image-1", stream=True), AnswerHead("text/event-stream")
    )
    for event in events:
        meter.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    read_so_far = meter.reading()

    assert (read_so_far.finished, read_so_far.complete) == (True, True)
    assert read_so_far.parts == ((None, Usage(input=3, output_image=4)),)


def test_an_image_model_that_does_not_say_its_cost_is_refused() -> None:
    """What a DALL·E answer cost is not in it."""
    with pytest.raises(InvalidRequest, match="report their tokens"):
        call("openai", "images", model="dall-e-3")
    assert call("openai", "images", model="gpt-image-1").size.unbounded_why


def test_a_usage_that_grows_is_final_with_the_end() -> None:
    """Perplexity states a sum in every chunk, OpenRouter one after the end: only what comes with or after it counts."""
    cut = [{"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 8, "completion_tokens": 1}}]
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 8, "completion_tokens": 90}}

    after = [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {**cut[0], "choices": [{"delta": {}}]}]

    assert not read("perplexity", cut).complete
    assert read("openrouter", after).complete
    whole = read("perplexity", [*cut, end])
    assert (whole.complete, whole.finished) == (True, True)
    assert whole.parts == ((None, Usage(input=8, output=90)),)


@pytest.mark.parametrize(
    ("name", "values", "members"),
    [("mistral", (), {"agent_id": "ag_x", "messages": []}), ("portkey", ("pp-x",), {"variables": {}})],
)
def test_what_is_stored_stands_for_a_model_without_a_bound(
    name: str, values: tuple[str, ...], members: dict[str, Any]
) -> None:
    """The id is the name until the answer has one; nothing in the request says what is stored."""
    body = json.dumps({"max_tokens": 5, **members}).encode()
    asked = DIALECTS[name].call(Request("stored", body, values))

    assert asked.model == (values[0] if values else "ag_x")
    assert asked.operation == "stored"
    assert asked.size.beyond_body
    assert "brings its own" in asked.size.unbounded_why


def test_a_decision_reports_as_a_response_does() -> None:
    """Cached tokens and reasoning are inside, and the questions count as text."""
    asked = call("openai", "decisions", model="gpt-6-luna", input="an input", questions=[{"type": "predicate"}])
    meter = DIALECTS["openai"].meter(asked, AnswerHead("application/json"))
    usage = {
        "input_tokens": 90,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 8},
    }
    meter.feed(json.dumps({"model": "gpt-6-luna", "answers": [], "usage": usage}).encode())
    meter.end()

    expected = Usage(input=40, cache_read=40, cache_write=10, output=4, reasoning=8)
    assert meter.reading().parts == (("gpt-6-luna", expected),)
    assert "predicate" in asked.text()


@pytest.mark.parametrize("model", ["tts-1", "canopylabs/orpheus-v1-english"])
def test_characters_bound_what_is_billed_by_them(model: str) -> None:
    """Groq's voices are priced as OpenAI's older ones are."""
    asked = call("groq", "speech", model=model, input="ten chars.")

    assert asked.size.unbounded_why == ""
    assert asked.size.presumed == Usage(units={"input_characters": 10})
