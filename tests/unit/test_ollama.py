"""What Ollama's requests ask and its answers report."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.ndjson import LINE_BYTES_MAX, NdjsonMeter
from penia_proxy.wire.ollama import Ollama, OllamaReader

DIALECT = Ollama()

LINES = (
    b'{"model":"qwen3","message":{"role":"assistant","content":"","thinking":"h\xc3\xa9"},"done":false}\n'
    b'{"model":"qwen3","message":{"role":"assistant","content":"Hi"},"done":false}\r\n\n'
    b'{"model":"qwen3","message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}\n'
    b'{"model":"qwen3","message":{"content":""},"done":true,"prompt_eval_count":21,"eval_count":8}'
)


def call(operation: str = "chat", **members: Any) -> Call:
    return DIALECT.call(Request(operation, json.dumps({"model": "qwen3", **members}).encode()))


def reading(body: bytes, asked: Call, content_type: str, *, step: int = 10_000) -> Reading:
    meter = DIALECT.meter(asked, AnswerHead(content_type))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert passed + meter.end() == body
    return meter.reading()


def test_a_call_streams_unless_it_says_not_to() -> None:
    """Ollama's default is the other way round than everybody else's."""
    assert call().stream
    assert not call(stream=False).stream
    assert not call("embed", input="x").stream


@pytest.mark.parametrize("step", range(1, len(LINES) + 1, 7))
def test_lines_read_the_same_at_every_split(step: int) -> None:
    """However the network cuts lines and characters, the reading is the same; an unended last line counts."""
    found = reading(LINES, call(), "application/x-ndjson", step=step)

    assert found.parts == (("qwen3", Usage(input=21, output=8)),)
    assert found.complete
    assert found.finished
    assert found.passed_text.startswith("héHi")


def test_every_two_pieces_read_the_same() -> None:
    """A cut at any one byte changes nothing."""
    whole = reading(LINES, call(), "application/x-ndjson")
    for at in range(len(LINES)):
        meter = NdjsonMeter(OllamaReader(embeds=False))
        meter.feed(LINES[:at])
        meter.feed(LINES[at:])
        meter.end()
        assert meter.reading() == whole


def test_an_absent_prompt_count_is_zero() -> None:
    """A prompt that was cached was once not counted; the answer is complete all the same."""
    found = reading(b'{"model":"m","response":"x","done":true,"eval_count":3}', call("generate"), "application/json")

    assert found.parts == (("m", Usage(output=3)),)
    assert found.complete


def test_a_count_that_is_garbage_is_not_believed() -> None:
    """A negative count makes the answer one without usage."""
    found = reading(b'{"done":true,"eval_count":-3}', call("generate"), "application/json")

    assert found.finished
    assert not found.complete


def test_a_cut_stream_is_not_complete_and_keeps_what_passed() -> None:
    """Without its last object an answer has no counts, only text."""
    found = reading(LINES[: LINES.index(b'{"model":"qwen3","message":{"content":"","tool')], call(), "")

    assert not found.complete
    assert not found.finished
    assert found.passed_text == "héHi"


def test_an_error_line_is_a_failure() -> None:
    """Ollama says in the middle of a stream that it broke."""
    found = reading(b'{"error":"model runner stopped"}\n', call(), "application/x-ndjson")

    assert found.failed
    assert not found.wrote


@pytest.mark.parametrize(
    ("operation", "body", "complete"),
    [
        ("embed", b'{"model":"m","embeddings":[[1.0]],"prompt_eval_count":4}', True),
        ("embeddings", b'{"embedding":[1.0]}', False),
    ],
)
def test_an_embedding_without_a_count_was_not_counted(operation: str, body: bytes, *, complete: bool) -> None:
    """The old endpoint reports nothing, which is not nothing."""
    found = reading(body, call(operation, input="x", prompt="x"), "application/json")

    assert found.finished
    assert found.complete is complete


@pytest.mark.parametrize(("given", "cap"), [(100, 100), (0, 0), (-1, None), (-2, None), (None, None)])
def test_num_predict_caps_unless_it_says_without_end(given: int | None, cap: int | None) -> None:
    """-1 is without end and -2 the rest of the context: no cap of the caller's."""
    assert call(options={"num_predict": given}).size.output_cap == cap


@pytest.mark.parametrize("options", [{"num_predict": -3}, {"num_predict": 1.5}, {"num_predict": True}, [], "x"])
def test_options_that_mean_nothing_are_refused(options: object) -> None:
    """A cap that cannot be read must not be taken for none."""
    if options:
        with pytest.raises(InvalidRequest):
            call(options=options)
    else:
        assert call(options={}).size.output_cap is None


def test_images_are_counted_and_not_their_bytes() -> None:
    """Pictures are in messages or in the request itself, and are no text."""
    asked = call(messages=[{"role": "user", "content": "see", "images": ["A" * 5_000]}], images=["B" * 5_000])

    assert asked.size.images == 2
    assert asked.size.text_bytes < 300
    assert "A" * 10 not in asked.text()


def test_the_compatible_paths_are_openai_s() -> None:
    """A chat there asks for usage as any OpenAI chat does, and its answer is read as one."""
    operations = {route.path: route.operation for route in DIALECT.routes}
    operation = operations["/v1/chat/completions"]
    assert operation is not None
    asked = call(operation, messages=[], stream=True, max_tokens=5)
    body = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
    meter = DIALECT.meter(asked, AnswerHead("text/event-stream"))
    passed = meter.feed(body) + meter.end()

    assert asked.size.output_cap == 5
    assert passed == b"data: [DONE]\n\n"
    assert meter.reading().parts == (("m", Usage(input=2, output=1)),)


def test_a_refusal_has_ollama_s_shape() -> None:
    """ollama-python keeps the sentence in ``error`` and nothing else: our code stands in it."""
    shape = DIALECT.refusal(BudgetExceeded("too much"), {"code": "budget_exceeded"}, "r1")

    assert shape.body == {"error": "too much (budget_exceeded)", "penia": {"code": "budget_exceeded"}}


def test_a_line_beyond_bounds_is_read_as_nothing() -> None:
    """Memory is bounded: the endless line passes, and the next one counts again."""
    meter = NdjsonMeter(OllamaReader(embeds=False))
    for _ in range(3):
        meter.feed(b" " * (LINE_BYTES_MAX // 2))
    meter.feed(b'{"done":true,"eval_count":9}\n')
    oversized = meter.reading()
    meter.feed(b'{"done":true,"eval_count":3}\n')

    assert oversized.parts == ()
    assert meter.reading().parts == ((None, Usage(output=3)),)


@pytest.mark.parametrize(
    ("provider", "model", "free"),
    [
        ("ollama", "llama3.3:70b", True),
        ("ollama", "cloudy", True),
        ("ollama", "gpt-oss:120b-cloud", False),
        ("ollama", "GLM-4.6:cloud", False),
        ("ollama-cloud", "gpt-oss:120b", False),
    ],
)
def test_one_s_own_hardware_is_free_and_the_cloud_is_not(provider: str, model: str, *, free: bool) -> None:
    """What a local Ollama passes on to the cloud has no price, and no price is not free."""
    card = PriceBook.load().card(provider, model, datetime(2026, 11, 23, tzinfo=UTC))

    assert (card is not None and card.is_free) is free
    assert free or card is None
