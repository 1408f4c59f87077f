"""Streams of every dialect, odd ones among them, are read by comparing and cutting as they are by parsing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penia_proxy.wire import openai_chat
from penia_proxy.wire.call import AnswerHead, Reading, Request
from penia_proxy.wire.dialects import DIALECTS
from penia_proxy.wire.sse import SseFramer


def asked(model: str, **members: Any) -> bytes:
    return json.dumps({"model": model, "stream": True, "max_tokens": 50, "messages": [], **members}).encode()


CALLS = {
    "openai": Request("chat", asked("gpt-4o-mini")),
    "openai told": Request("chat", asked("gpt-4o-mini", stream_options={"include_usage": True})),
    "openai responses": Request("responses", asked("gpt-5-mini", input="hi")),
    "openai completions": Request("completions", asked("gpt-3.5-turbo-instruct", prompt="hi")),
    "anthropic": Request("messages", asked("claude-sonnet-4-5")),
    "cohere": Request("chat", asked("command-r-plus")),
    "google": Request("streamGenerateContent", b"{}", path_values=("gemini-2.5-flash",), query="alt=sse"),
    **{
        name: Request("chat", asked("some-model"))
        for name in ("groq", "deepseek", "x-ai", "openrouter", "perplexity", "mistral", "openai-compatible")
    },
}

TEXTS = [
    "ok ", "", "hi", "\u00e4\U0001f600", '"', "\\", '\\"', '"usage":{"prompt_tokens":9}',
    '","usage":{"prompt_tokens":9', "data: x", "[DONE]", "\n\n",
    "\r\n\r\n", "\u2028", "content", "\x7f", "\x00", "a" * 300,
]  # fmt: skip
COUNTS = ["7", "7.0", "7e0", "0.7e1", "700E-2", "-1", "7.5", "1e13", "1e400", "99999999999999999999999", "null", '"7"']


def usage(one: str, other: str) -> str:
    counts = f'"prompt_tokens":{one},"completion_tokens":{other},"total_tokens":14'
    theirs = f'"input_tokens":{one},"output_tokens":{other},"cost":0.25'
    return f'{{{counts},{theirs},"input_tokens_details":{{"cached_tokens":2}}}}'


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Return one event's data: of any dialect, with usage in any place, once, twice, escaped or null."""
    text = json.dumps(draw(st.sampled_from(TEXTS)), ensure_ascii=draw(st.booleans()))
    said = usage(draw(st.sampled_from(COUNTS)), draw(st.sampled_from(COUNTS)))
    more = draw(st.sampled_from(["", ',"usage":null', f',"usage":{said}', f',"usage":null,"usage":{said}',
                                 f',"\\u0075sage":{said}', f',"x_groq":{{"usage":{said}}}', ',"obfuscation":"aB"',
                                 ',"obfuscation":"Bcd"', ',"model":"other"', ',"error":{"message":"no"}']))  # fmt: skip
    reason = draw(st.sampled_from(["null", "null", "null", '"stop"']))
    meta = f'"usageMetadata":{{"promptTokenCount":7,"candidatesTokenCount":{draw(st.sampled_from(COUNTS))}}}'
    shapes = [
        f'{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"content":{text}}},"finish_reason":{reason}}}]{more}}}',
        f'{{"id":"c","choices":[{{"delta":{{"c\\u006fntent":"hi"}},"more":{{"content":{text}}}}}]{more}}}',
        f'{{"id":"c","choices":[{{"index":0,"delta":{{"content":"a","content":{text}}}}}]{more}}}',
        f'{{"id":"c","choices":[{{"index":0,"delta":{{"content":{text},"refusal":{text}}}}}]{more}}}',
        f'{{"choices":[{{"index":1,"delta":{{"tool_calls":[{{"function":{{"name":"f","arguments":{text}}}}}]}}}}]}}',
        f'{{"id":"c","model":"m","choices":[]{more}}}',
        f'{{"choices":[{{"index":0,"text":{text},"finish_reason":{reason}}}]{more}}}',
        f'{{"type":"message_start","message":{{"id":"m","model":"claude-sonnet-4-5","usage":{said}}}}}',
        f'{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{text}}}}}',
        f'{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{said}}}',
        '{"type":"message_stop"}',
        f'{{"type":"response.output_text.delta","delta":{text}}}',
        f'{{"type":"response.completed","response":{{"id":"resp_1","status":"completed","usage":{said}}}}}',
        f'{{"candidates":[{{"content":{{"parts":[{{"text":{text}}}]}}}}],{meta}}}',
        f'{{"type":"content-delta","delta":{{"message":{{"content":{{"text":{text}}}}}}}}}',
        f'{{"type":"message-end","delta":{{"usage":{{"billed_units":{said},"tokens":{said}}}}}}}',
        "[DONE]",
        "{",
    ]
    return draw(st.sampled_from(shapes)).encode("utf-8", "surrogatepass")


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Return events, most of them plain and in runs, others in every way that the standard allows."""
    said = b"\xef\xbb\xbf" if draw(st.integers(0, 9)) == 0 else b""
    for _ in range(draw(st.integers(0, 10))):
        payload = draw(payloads())
        plain = b"data: %b\n\n" % payload
        odd = [
            b"data:%b\n\n" % payload,
            b"data: %b\r\n\r\n" % payload,
            b"data: %b\r\r" % payload,
            b"event: e\ndata: %b\n\n" % payload,
            b"data: %b\ndata: \n\n" % payload.replace(b",", b",\ndata: ", 1),
            b": a comment\n\n%b" % plain,
            b"\n%b\n" % plain,
            b"data: \n\n%b" % plain,
            b"data: %b\nid: 1\nretry: 5\n\n" % payload,
        ]
        said += draw(st.sampled_from(odd)) if draw(st.integers(0, 4)) == 0 else plain * draw(st.integers(1, 3))
    return said


def read(name: str, data: bytes, step: int) -> tuple[bytes, Reading]:
    dialect = DIALECTS[name.split(" ", maxsplit=1)[0]]
    meter = dialect.meter(dialect.call(CALLS[name]), AnswerHead("text/event-stream"))
    passed = b"".join(meter.feed(data[at : at + step]) for at in range(0, len(data), step)) + meter.end()
    return passed, meter.reading()


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60, deadline=None)
@given(data=streams(), step=st.integers(1, 400) | st.just(100_000))
def test_the_quick_ways_read_what_parsing_reads(name: str, data: bytes, step: int) -> None:
    """Bytes, tokens and money, whatever comes and however it is cut."""
    quick = read(name, data, step)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(openai_chat, "_alike", lambda *_: None)
        patched.setattr(SseFramer, "plain", lambda *_: None)
        slow, (passed, reading) = read(name, data, step), read(name, data, 1)

    assert quick == slow
    # A CR at the end of a piece ends its line already; an LF behind it goes with what comes next.
    assert (_events(quick[0]), quick[1]) == (_events(passed), reading)


def _events(said: bytes) -> list[bytes]:
    lines = said.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [event for event in (one.strip(b"\n") for one in lines.split(b"\n\n")) if event]
