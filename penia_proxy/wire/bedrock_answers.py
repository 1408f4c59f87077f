"""
Read Bedrock's answers.

Its one job: what Converse and InvokeModel report, whole and as event streams, whichever vendor's model answered.
Rules: Converse's ``inputTokens`` excludes cache reads and writes. InvokeModel's body has its vendor's shape, and its
headers count what was run: where they differ (a guardrail replaced the answer) the headers are right. The model is
the one in the path, because the body's own name lacks the region, which has a price. Sources: wire_formats.md §1.4;
botocore 1.44.5, bedrock-runtime.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

from penia_proxy.budget.usage import Usage
from penia_proxy.wire.anthropic import MessageReader as AnthropicReader
from penia_proxy.wire.call import Reading
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.eventstream import Message
from penia_proxy.wire.openai_usage import usage_of as openai_usage_of
from penia_proxy.wire.reported import Passed, count_in, json_of, required, whole

HEADER = "x-amzn-bedrock-"
METRICS = "amazon-bedrock-invocationMetrics"
GUARDRAIL = "amazon-bedrock-guardrailAction"


def usage_of(report: object) -> Usage | None:
    """Return the usage of Converse's ``usage`` object, which is Nova's as well."""
    if not isinstance(report, dict) or not {"inputTokens", "outputTokens"} & report.keys():
        return None
    given, output = required(report, "inputTokens"), required(report, "outputTokens")
    if given is None or output is None:
        return None
    details = dicts(report.get("cacheDetails"))
    written_1h = sum(count_in(detail, "inputTokens") for detail in details if detail.get("ttl") == "1h")
    written_5m = sum(count_in(detail, "inputTokens") for detail in details if detail.get("ttl") != "1h")
    written = count_in(report, "cacheWriteInputTokens") or count_in(report, "cacheWriteInputTokenCount")
    return Usage(
        input=given,
        cache_read=count_in(report, "cacheReadInputTokens") or count_in(report, "cacheReadInputTokenCount"),
        cache_write=max(written - written_1h, written_5m),
        cache_write_1h=written_1h,
        output=output,
    )


class ConverseReader:
    """Reads Converse, whole or as events."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._model: str | None = None
        self._finished = False
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._metadata(answer)
        output = answer.get("output")
        message = output.get("message") if isinstance(output, dict) else None
        for block in dicts(message.get("content") if isinstance(message, dict) else None):
            self._add(block)

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - no answer of Bedrock is server-sent events
        return True

    def message(self, message: Message) -> None:
        if message.headers.get(":message-type", "event") != "event":
            self._failed = True
            return
        said = json_of(message.payload)
        if not isinstance(said, dict):
            return
        match message.headers.get(":event-type"):
            case "contentBlockDelta":
                self._add(said.get("delta"))
            case "contentBlockStart":
                self._add(said.get("start"))
            case "metadata":
                self._metadata(said)

    def reading(self) -> Reading:
        return Reading(
            parts=() if self._usage is None else ((self._model, self._usage),),
            complete=self._usage is not None,
            finished=self._finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
        )

    def _metadata(self, said: Mapping[str, Any]) -> None:
        self._finished = True
        tier, trace = said.get("serviceTier"), said.get("trace")
        self._usage = usage_of(said.get("usage"))
        if self._usage is not None and isinstance(tier, dict) and isinstance(tier.get("type"), str):
            self._usage = self._usage.with_tier(tier["type"])
        router = trace.get("promptRouter") if isinstance(trace, dict) else None
        invoked = router.get("invokedModelId") if isinstance(router, dict) else None
        if isinstance(invoked, str) and invoked:
            # An ARN: the model is what follows its last slash.
            self._model = invoked.rpartition("/")[2]

    def _add(self, block: object) -> None:
        if not isinstance(block, dict):
            return
        self.passed.add(block.get("text"))
        for name in ("toolUse", "reasoningContent", "citationsContent"):
            given = block.get(name)
            if isinstance(given, dict):
                self.passed.add(text_of(given))


class InvokeReader:
    """Reads InvokeModel, whole or as events."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._by_headers = _headers_usage(headers)
        self._tier = headers.get(f"{HEADER}service-tier")
        self._vendor: Usage | None = None
        self._metrics: Usage | None = None
        self._anthropic = AnthropicReader()
        self._finished = False
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        self._anthropic.document(answer)
        self._vendor = _vendor_usage(answer)
        for text in _texts(answer):
            self.passed.add(text)

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - no answer of Bedrock is server-sent events
        return True

    def message(self, message: Message) -> None:
        if message.headers.get(":message-type", "event") != "event":
            self._failed = True
            return
        piece = _piece(message.payload)
        said = json_of(piece)
        if not isinstance(said, dict):
            return
        self._anthropic.event(piece)
        for text in _texts(said):
            self.passed.add(text)
        metrics = said.get(METRICS)
        if isinstance(metrics, dict):
            self._finished = True
            self._metrics = _metrics_usage(metrics)
        elif said.get(GUARDRAIL) == "INTERVENED" and (usage := _vendor_usage(said)) is not None:
            # The text is the guardrail's, which no model wrote.
            self._finished = True
            self._vendor = replace(usage, output=0, reasoning=0)

    def reading(self) -> Reading:
        theirs = self._anthropic.reading()
        own = reduce(Usage.plus, (usage for _, usage in theirs.parts)) if theirs.parts else None
        final = (own if theirs.complete else None) or self._metrics or self._vendor
        usage = _agreed(final, self._by_headers)
        complete = usage is not None
        usage = usage or own  # what a cut stream said at its beginning
        if usage is not None and self._tier:
            usage = usage.with_tier(self._tier)
        return Reading(
            parts=() if usage is None else ((None, usage),),
            complete=complete,
            finished=self._finished or theirs.finished,
            failed=self._failed or theirs.failed,
            passed_text=self.passed.text + theirs.passed_text,
            passed_bytes=self.passed.bytes + theirs.passed_bytes,
        )


def _piece(payload: bytes) -> bytes:
    """Return the vendor's own JSON, which a chunk carries in base64."""
    chunk = json_of(payload)
    encoded = chunk.get("bytes") if isinstance(chunk, dict) else None
    if not isinstance(encoded, str):
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _agreed(body: Usage | None, headers: Usage | None) -> Usage | None:
    """Return the headers' counts, or the body's, which tell more apart, where the two say the same."""
    if body is None or headers is None:
        return body or headers
    if (body.input, body.output_total) == (headers.input, headers.output):
        return body
    return headers if headers.input_total > headers.input else replace(body, input=headers.input, output=headers.output)


def _headers_usage(headers: Mapping[str, str]) -> Usage | None:
    given = _number(headers.get(f"{HEADER}input-token-count"))
    output = _number(headers.get(f"{HEADER}output-token-count"))
    if given is None:
        return None
    return Usage(
        input=given,
        cache_read=_number(headers.get(f"{HEADER}cache-read-input-token-count")) or 0,
        cache_write=_number(headers.get(f"{HEADER}cache-write-input-token-count")) or 0,
        output=output or 0,
    )


def _number(text: str | None) -> int | None:
    return whole(int(text)) if text and text.isascii() and text.isdigit() and len(text) <= 12 else None


def _metrics_usage(metrics: Mapping[str, Any]) -> Usage | None:
    given, output = required(metrics, "inputTokenCount"), required(metrics, "outputTokenCount")
    if given is None or output is None:
        return None
    return Usage(
        input=given,
        cache_read=count_in(metrics, "cacheReadInputTokenCount"),
        cache_write=count_in(metrics, "cacheWriteInputTokenCount"),
        output=output,
    )


def _vendor_usage(answer: Mapping[str, Any]) -> Usage | None:
    """Return the usage of a body that is not Anthropic's: Nova, the OpenAI shape, Llama, Titan."""
    report = answer.get("usage")
    usage = usage_of(report) or openai_usage_of(report)
    if usage is not None:
        return usage
    for prompt, output in (
        ("prompt_token_count", count_in(answer, "generation_token_count")),
        ("inputTextTokenCount", sum(count_in(result, "tokenCount") for result in dicts(answer.get("results")))),
    ):
        given = whole(answer.get(prompt))
        if given is not None:
            return Usage(input=given, output=output)
    return None


def _texts(answer: Mapping[str, Any]) -> Iterator[object]:
    """Yield the pieces of text of a body that is not Anthropic's messages."""
    for name in ("generation", "outputText", "text", "completion"):
        yield answer.get(name)
    for name in ("results", "outputs", "generations", "choices"):
        for item in dicts(answer.get(name)):
            yield item.get("outputText")
            yield item.get("text")
            message = item.get("message") or item.get("delta")
            if isinstance(message, dict):
                yield text_of([message.get(key) for key in ("content", "reasoning", "tool_calls")])
    for holder, names in (("output", ("message", "content")), ("contentBlockDelta", ("delta",))):
        found: object = answer.get(holder)
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        for block in [found] if isinstance(found, dict) else dicts(found):
            yield block.get("text")
            yield text_of(block["toolUse"]) if isinstance(block.get("toolUse"), dict) else None
