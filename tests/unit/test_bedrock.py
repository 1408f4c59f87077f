"""What Bedrock's requests ask and its answers report."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.bedrock import EVENT_STREAM, Bedrock
from penia_proxy.wire.bedrock_answers import usage_of
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from tests.eventstreams import chunk, event, exception

DIALECT = Bedrock()
NOVA = "us.amazon.nova-pro-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TIER = {"x-amzn-bedrock-service-tier": "priority"}


def call(
    operation: str = "converse", model: str = NOVA, headers: Mapping[str, str] | None = None, **members: Any
) -> Call:
    return DIALECT.call(Request(operation, json.dumps(members).encode(), (model,), headers=headers or {}))


def whole(answer: dict[str, Any], operation: str = "invoke", headers: Mapping[str, str] | None = None) -> Reading:
    meter = DIALECT.meter(call(operation), AnswerHead("application/json", headers or {}))
    meter.feed(json.dumps(answer).encode())
    meter.end()
    return meter.reading()


def stream(body: bytes, operation: str, *, step: int = 10_000) -> Reading:
    meter = DIALECT.meter(call(operation), AnswerHead(EVENT_STREAM))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert passed + meter.end() == body
    return meter.reading()


CONVERSE = (
    event("messageStart", {"role": "assistant"})
    + event("contentBlockDelta", {"delta": {"reasoningContent": {"text": "hm"}}})
    + event("contentBlockDelta", {"delta": {"text": "Hi"}})
    + event("contentBlockStart", {"start": {"toolUse": {"name": "f"}}})
    + event("messageStop", {"stopReason": "end_turn"})
    + event("metadata", {"usage": {"inputTokens": 5, "outputTokens": 3}, "serviceTier": {"type": "flex"}})
)

METRICS = "amazon-bedrock-invocationMetrics"

ANTHROPIC = (
    chunk({"type": "message_start", "message": {"model": "claude", "usage": {"input_tokens": 7, "output_tokens": 1}}})
    + chunk({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}})
    + chunk({"type": "message_delta", "usage": {"output_tokens": 30}})
    + chunk({"type": "message_stop", METRICS: {"inputTokenCount": 7, "outputTokenCount": 21}})
)


def test_cache_counts_are_apart_from_input() -> None:
    """Bedrock's input excludes them; the lifetimes are told apart, and what is not split is at the default one."""
    usage = usage_of(
        {
            "inputTokens": 5,
            "outputTokens": 3,
            "totalTokens": 118,
            "cacheReadInputTokens": 10,
            "cacheWriteInputTokens": 100,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 60}, {"ttl": "5m", "inputTokens": 30}],
        }
    )

    assert usage == Usage(input=5, cache_read=10, cache_write=40, cache_write_1h=60, output=3)


@pytest.mark.parametrize("report", [None, {}, {"totalTokens": 3}, {"inputTokens": -1}, {"outputTokens": "3"}])
def test_usage_that_cannot_be_believed_is_none(report: object) -> None:
    """No usage is not a usage of nothing."""
    assert usage_of(report) is None


def test_a_converse_answer_is_read_whole() -> None:
    """Usage, the tier that served it, and the text."""
    found = whole(
        {
            "output": {"message": {"content": [{"text": "Hi"}, {"toolUse": {"name": "f", "input": {"a": 1}}}]}},
            "usage": {"inputTokens": 5, "outputTokens": 3},
            "serviceTier": {"type": "default"},
        },
        "converse",
    )

    assert found.parts == ((None, Usage(input=5, output=3, service_tier="default")),)
    assert found.complete
    assert found.passed_text.startswith("Hi")


def test_a_router_says_which_model_answered() -> None:
    """A prompt router's price is that of the model it chose."""
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0"
    found = whole({"usage": {"inputTokens": 1}, "trace": {"promptRouter": {"invokedModelId": arn}}}, "converse")

    assert found.model == "us.amazon.nova-lite-v1:0"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 31, 10_000])
def test_a_converse_stream_reads_the_same_at_every_split(step: int) -> None:
    """The last event has the usage."""
    found = stream(CONVERSE, "converse-stream", step=step)

    assert found.parts == ((None, Usage(input=5, output=3, service_tier="flex")),)
    assert found.complete
    assert found.finished
    assert found.passed_text.startswith("text\nhmHi")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 31, 10_000])
def test_an_invoke_stream_reads_the_same_at_every_split(step: int) -> None:
    """Claude's own usage counts before the metrics, which leave some of the output out."""
    found = stream(ANTHROPIC, "invoke-stream", step=step)

    assert found.parts == ((None, Usage(input=7, output=30)),)
    assert found.complete
    assert found.finished
    assert found.passed_text == "Hi"


def test_the_metrics_count_where_the_vendor_says_nothing() -> None:
    """They come with the last chunk of every vendor."""
    body = chunk({"generation": "Hi"}) + chunk({METRICS: {"inputTokenCount": 7, "cacheReadInputTokenCount": 2}})
    found = stream(body, "invoke-stream")

    assert found.parts == ((None, Usage(input=7, cache_read=2)),)
    assert found.finished
    assert found.passed_text == "Hi"


@pytest.mark.parametrize(
    "said",
    [
        {"outputText": "no", "inputTextTokenCount": 6.0, "totalOutputTextTokenCount": 3.0},
        {"generation": "no", "prompt_token_count": 6, "generation_token_count": 3},
    ],
)
def test_what_a_guardrail_wrote_no_model_wrote(said: dict[str, Any]) -> None:
    """A blocked request has the guardrail's text in the answer's place."""
    found = stream(chunk({**said, "amazon-bedrock-guardrailAction": "INTERVENED"}), "invoke-stream")

    assert found.parts == ((None, Usage(input=6)),)
    assert found.complete


@pytest.mark.parametrize("operation", ["converse-stream", "invoke-stream"])
def test_an_exception_in_a_stream_is_a_failure(operation: str) -> None:
    """A throttled stream is not an answer."""
    found = stream(exception("throttlingException"), operation)

    assert found.failed
    assert not found.complete
    assert not found.wrote


def test_a_cut_stream_knows_its_input() -> None:
    """Claude says its input at the beginning; that is not the whole bill."""
    found = stream(ANTHROPIC[: len(ANTHROPIC) // 2], "invoke-stream")

    assert found.parts == ((None, Usage(input=7, output=1)),)
    assert not found.complete
    assert not found.finished


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"usage": {"input_tokens": 7, "output_tokens": 2}, "content": []}, Usage(input=7, output=2)),
        ({"usage": {"inputTokens": 7, "outputTokens": 2, "cacheReadInputTokenCount": 1}}, Usage(7, 1, output=2)),
        ({"usage": {"prompt_tokens": 7, "completion_tokens": 2}, "choices": []}, Usage(input=7, output=2)),
        ({"prompt_token_count": 7, "generation_token_count": 2, "generation": "Hi"}, Usage(input=7, output=2)),
        ({"inputTextTokenCount": 7.0, "results": [{"tokenCount": 2, "outputText": "x"}]}, Usage(input=7, output=2)),
        ({"embedding": [0.1], "inputTextTokenCount": 7}, Usage(input=7)),
    ],
)
def test_each_vendor_s_body_is_read(answer: dict[str, Any], usage: Usage) -> None:
    """InvokeModel answers in the shape of the model's vendor."""
    assert whole(answer).parts == ((None, usage),)


def test_the_headers_count_where_the_body_says_nothing() -> None:
    """Cohere's models report nothing in the body."""
    headers = {"x-amzn-bedrock-input-token-count": "9", "x-amzn-bedrock-output-token-count": "112"}

    assert whole({"generations": [{"text": "Hi"}]}, headers=headers).parts == ((None, Usage(input=9, output=112)),)


def test_the_headers_are_right_where_the_body_differs() -> None:
    """A guardrail replaced the answer: what was run is on the bill."""
    headers = {"x-amzn-bedrock-input-token-count": "30", "x-amzn-bedrock-output-token-count": "51"}
    found = whole({"inputTextTokenCount": 30, "results": [{"tokenCount": 0}]}, headers=headers)
    cached = {**headers, "x-amzn-bedrock-cache-read-input-token-count": "8"}
    also = whole({"usage": {"inputTokens": 30, "outputTokens": 0}}, headers=cached)

    assert found.parts == ((None, Usage(input=30, output=51)),)
    assert also.parts == ((None, Usage(input=30, cache_read=8, output=51)),)


def test_the_body_tells_more_apart_where_the_two_agree() -> None:
    """The headers do not know the lifetimes of cache writes."""
    usage = {"input_tokens": 4, "output_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 8}}
    headers = {"x-amzn-bedrock-input-token-count": "4", "x-amzn-bedrock-output-token-count": "2"}

    assert whole({"usage": usage}, headers=headers).parts == ((None, Usage(input=4, cache_write_1h=8, output=2)),)


@pytest.mark.parametrize("count", ["", "x", "-1", "1" * 40, "٣"])
def test_headers_that_are_no_counts_are_none(count: str) -> None:
    """What cannot be believed is as good as not said."""
    found = whole({}, headers={"x-amzn-bedrock-input-token-count": count})

    assert not found.complete


def test_a_signed_request_is_refused_with_what_to_do() -> None:
    """A signature covers the host it was made for; passing it on could only fail later and less clearly."""
    with pytest.raises(InvalidRequest, match="AWS_BEARER_TOKEN_BEDROCK"):
        call(headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, messages=[])
    assert call(headers={"Authorization": "Bearer k"}, messages=[]).model == NOVA


@pytest.mark.parametrize(
    ("model", "members", "cap"),
    [
        (NOVA, {"inferenceConfig": {"maxTokens": 5}}, 5),
        (NOVA, {"inferenceConfig": {"max_new_tokens": 5}}, 5),
        (NOVA, {"max_tokens": 5}, None),
        ("meta.llama3-8b-instruct-v1:0", {"max_gen_len": 5}, 5),
        ("meta.llama3-8b-instruct-v1:0", {"max_tokens": 5}, None),
        ("amazon.titan-text-express-v1", {"textGenerationConfig": {"maxTokenCount": 5}}, 5),
        (CLAUDE, {"max_tokens": 5, "messages": []}, 5),
        ("unheard.of-v1:0", {"max_tokens": 5}, None),
    ],
)
def test_a_cap_counts_under_its_vendor_s_name_only(model: str, members: dict[str, Any], cap: int | None) -> None:
    """A field that the model does not know bounds nothing."""
    assert call("invoke", model, **members).size.output_cap == cap


def test_the_larger_of_two_caps_bounds() -> None:
    """A vendor's own field may be the one that counts."""
    asked = call(inferenceConfig={"maxTokens": 5}, additionalModelRequestFields={"max_tokens": 900})

    assert asked.size.output_cap == 900


def test_choices_multiply() -> None:
    """Several answers are several outputs."""
    assert call("invoke", "cohere.command-text-v14", max_tokens=5, num_generations=4).size.output_bound(None) == 20


@pytest.mark.parametrize(
    "members",
    [
        {"guardrailConfig": {"guardrailIdentifier": "g"}},
        {"performanceConfig": {"latency": "optimized"}},
        {"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}},
    ],
)
def test_what_costs_beyond_tokens_says_so(members: dict[str, Any]) -> None:
    """Guardrails, faster answers and hosted tools have no price that is known here."""
    assert call(**members).size.unbounded_why
    assert not call(messages=[]).size.unbounded_why


@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_the_tier_asked_for_is_known_before(model: str) -> None:
    """Converse has it in the body, InvokeModel in a header; whether it has a price is the card's to say."""
    asked = call(serviceTier={"type": "priority"}), call("invoke", model, TIER, messages=[], max_tokens=5)

    assert [one.size.service_tier for one in asked] == ["priority", "priority"]
    assert not any(one.size.unbounded_why for one in asked)


@pytest.mark.parametrize("model", [NOVA, CLAUDE])
@pytest.mark.parametrize(
    "header",
    [
        {"x-amzn-bedrock-guardrailidentifier": "g"},
        {"x-amzn-bedrock-performanceconfig-latency": "optimized"},
    ],
)
def test_invoke_says_the_same_in_headers(model: str, header: dict[str, str]) -> None:
    """InvokeModel's body is the vendor's, so Bedrock's own options are headers."""
    assert call("invoke", model, header, messages=[], max_tokens=5).size.unbounded_why


def test_images_are_counted_and_documents_bound_by_the_window() -> None:
    """A picture's bytes are no text; a document's are no bound."""
    image = {"image": {"format": "png", "source": {"bytes": "A" * 5_000}}}
    nested = {"toolResult": {"toolUseId": "t", "content": [image]}}
    asked = call(messages=[{"role": "user", "content": [image, nested]}])

    assert asked.size.images == 2
    assert asked.size.text_bytes < 400
    assert "AAA" not in asked.text()
    document = {"document": {"format": "pdf", "name": "d", "source": {"bytes": "A"}}}
    assert call(messages=[{"role": "user", "content": [document]}]).size.beyond_body
    assert not call(messages=[{"role": "user", "content": [image]}]).size.beyond_body


def test_embeddings_write_nothing() -> None:
    """No output is held for them."""
    assert call("invoke", "amazon.titan-embed-text-v2:0", inputText="x").size.no_output


def test_a_refusal_has_bedrock_s_shape() -> None:
    """The SDK takes the error's name from a header, and keeps the sentence: our code stands in it."""
    shape = DIALECT.refusal(BudgetExceeded("too much"), {"code": "budget_exceeded"}, "r1")

    assert shape.body == {"message": "too much (budget_exceeded)", "penia": {"code": "budget_exceeded"}}
    assert shape.headers["x-amzn-errortype"] == "ServiceQuotaExceededException"
