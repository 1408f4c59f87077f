"""
Read OpenAI's audio, and its relatives': transcriptions, translations and speech.

Its one job: what an audio call asks for, and what its answer or its events report.
Rules: an answer that reports nothing (subtitles, plain text, sound) is taken at what the request shows, which is an
estimate and says so; characters to speak are in the request, so models priced by them have a bound, and no other does.
Sources: wire_formats.md §1.1 and §1.5; openai-python 3.54.0's types; OpenAI's OpenAPI description 2.3.0
(SpeechAudioDoneEvent).
"""

import math
from collections.abc import Mapping
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import model_of, read_object, text_or_none
from penia_proxy.wire.call import AnswerHead, Call, Meter, Reading, Request
from penia_proxy.wire.families import OPENAI, Family
from penia_proxy.wire.meters import JsonMeter, PassingMeter, SseMeter
from penia_proxy.wire.multipart import is_form, read_form
from penia_proxy.wire.openai_usage import Parts, cost_of, usage_of
from penia_proxy.wire.reported import Passed, count_in, json_of, required

AUDIO = frozenset({"transcriptions", "translations", "stt", "speech"})
"""The operations that are read here."""

BYTES_PER_SECOND = 8_000
"""Of sound sent: speech at 64 kbit/s. Uncompressed it is 32,000 and more: then too much is expected, not too little."""

INPUT_TOKENS_PER_SECOND = 10
"""Audio tokens of gpt-4o-transcribe: 37 for 3.7 s (recorded)."""

OUTPUT_TOKENS_PER_SECOND = 4
"""Text of what is said: 12 for 3.7 s (recorded)."""

SPOKEN_TOKENS_PER_CHARACTER = 1.4
"""Audio tokens of gpt-4o-mini-tts: its price says $0.015 a minute at $12 a million; a minute is 900 characters."""

BYTES_PER_TEXT_TOKEN = 4
"""Of English prose; text is a twentieth of what speech costs."""

SECONDS_MAX = 10**9

_UNBOUNDED_SOUND = "how long a recording is cannot be told from its size"
_UNBOUNDED_SPEECH = "how long the spoken text will be cannot be told from its characters"
_BY_SECONDS = ("whisper", "gpt-transcribe", "voxtral-mini")
"""Models priced by the length of the recording (genai-prices 0.2.3)."""
_BY_CHARACTERS = ("tts-1", "canopylabs/orpheus")
"""How the names begin of models priced by the characters to speak: OpenAI's, Groq's (the same)."""
_UNNAMED = "stt"
"""xAI's /v1/stt takes no model; this is the name to price it by."""
_FIELDS = ("model", "stream", "prompt", "response_format")
_NO = frozenset({"", "0", "false", "no", "off", "f", "n", "null", "none"})


class AudioReader:
    """Reads a transcript, or the events of one or of speech."""

    def __init__(self, model: str, family: Family = OPENAI) -> None:
        self._family = family
        self._model = model
        self._parts: Parts = ()
        self._complete = False
        self._finished = False
        self._failed = False
        self._cost: Any = None
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        self.passed.add(answer.get("text"))
        self._take(answer)

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if isinstance(event, dict):
            kind = str(event.get("type"))
            self._finished = self._finished or kind.endswith(".done")
            self._failed = self._failed or kind == "error"
            self.passed.add(event.get("delta") or event.get("audio"))
            self._take(event)
        return True

    def reading(self) -> Reading:
        return Reading(
            parts=self._parts,
            complete=self._complete,
            finished=self._finished,
            failed=self._failed,
            passed_bytes=self.passed.bytes,
            cost_usd=self._cost,
        )

    def _take(self, answer: Mapping[str, Any]) -> None:
        if answer.get("error"):
            self._failed = True
        report = answer.get("usage")
        usage = audio_usage_of(report, self._family)
        if usage is not None and isinstance(report, dict):
            self._parts, self._complete = ((None, usage),), True
            self._cost = cost_of(report, self._family)
            return
        seconds = _seconds(answer.get("duration"))
        if seconds is not None and not self._complete:
            # It says how long the recording is, and not what it bills.
            self._parts = ((None, presumed_of(seconds, self._model)),)


def audio_usage_of(report: object, family: Family = OPENAI) -> Usage | None:
    """Return the usage of a ``usage`` object: tokens, seconds, or both; None where there is none to believe."""
    if not isinstance(report, dict):
        return None
    seconds = _seconds(report.get("seconds" if "seconds" in report else "prompt_audio_seconds"))
    units = {} if seconds is None else {"input_audio_seconds": seconds}
    if report.get("type") == "duration" or "seconds" in report:
        return Usage(units=units) if units else None
    if units:
        # Mistral: the recording is billed by its length, so its tokens, which stand beside, are no second bill.
        given, output = required(report, "prompt_tokens"), required(report, "completion_tokens")
        return None if given is None or output is None else Usage(input=given, output=output, units=units)
    if not {"input_tokens", "output_tokens"} & report.keys():
        return usage_of(report, family)
    given, output = required(report, "input_tokens"), required(report, "output_tokens")
    if given is None or output is None:
        return None
    audio = min(count_in(report, "input_token_details", "audio_tokens"), given)
    return Usage(input=given - audio, input_audio=audio, output=output)


def presumed_of(seconds: int, model: str) -> Usage:
    """
    Return what a transcript of so many seconds is taken to use.

    Seconds, or tokens, or both where it is not known which of them the model bills: what has no price costs nothing.
    """
    units = {} if _by_tokens(model) else {"input_audio_seconds": seconds}
    if any(name in model for name in _BY_SECONDS):
        return Usage(units=units)
    tokens_in, tokens_out = seconds * INPUT_TOKENS_PER_SECOND, seconds * OUTPUT_TOKENS_PER_SECOND
    return Usage(input_audio=tokens_in, output=tokens_out, units=units)


def transcription_call(request: Request) -> Call:
    """Return the call. Raises InvalidRequest."""
    if is_form(request.content_type):
        form = read_form(request.body, request.content_type, _FIELDS)
        members: dict[str, Any] = dict(form.values)
        file_bytes, text_bytes = form.file_bytes, form.text_bytes
    else:
        members = read_object(request.body)  # OpenRouter takes the sound as base64 inside
        file_bytes = text_bytes = len(request.body)
    if request.operation == _UNNAMED:
        members.setdefault("model", _UNNAMED)
    model = model_of(members)
    seconds = max(1, math.ceil(file_bytes / BYTES_PER_SECOND))
    prompt = members.get("prompt")
    return Call(
        operation=request.operation,
        model=model,
        stream=str(members.get("stream", "")).strip().lower() not in _NO,
        size=Size(
            text_bytes=text_bytes,
            audio=True,
            presumed=presumed_of(seconds, model),
            unbounded_why=_UNBOUNDED_SOUND,
        ),
        body=request.body,
        text=lambda: prompt if isinstance(prompt, str) else "",
    )


def speech_call(request: Request) -> Call:
    """Return the call. Raises InvalidRequest."""
    members = read_object(request.body)
    model = model_of(members)
    spoken = text_or_none(members, "input")
    if spoken is None:
        raise InvalidRequest("'input' must be the text to speak.")
    by_characters = model.startswith(_BY_CHARACTERS)
    told = spoken + (text_or_none(members, "instructions") or "")
    units = {} if _by_tokens(model) else {"input_characters": len(spoken)}
    presumed = Usage(units=units)
    if not by_characters:
        tokens_in = math.ceil(len(told.encode("utf-8", "surrogatepass")) / BYTES_PER_TEXT_TOKEN)
        tokens_out = math.ceil(len(spoken) * SPOKEN_TOKENS_PER_CHARACTER)
        presumed = Usage(input=tokens_in, output=tokens_out, units=units)
    return Call(
        operation=request.operation,
        model=model,
        stream=members.get("stream_format") == "sse",
        size=Size(
            text_bytes=len(request.body),
            audio=True,
            no_output=by_characters,
            presumed=presumed,
            unbounded_why="" if by_characters else _UNBOUNDED_SPEECH,
        ),
        body=request.body,
        text=lambda: told,
    )


def audio_meter(call: Call, head: AnswerHead, family: Family = OPENAI) -> Meter:
    """Return the meter of an answer: events, JSON, or what cannot be read (sound as it comes, or text)."""
    reader = AudioReader(call.model, family)
    if head.content_type == "text/event-stream" or (call.stream and not head.content_type):
        return SseMeter(reader)
    if head.content_type == "application/json" or (call.operation != "speech" and not head.content_type):
        return JsonMeter(reader)
    return PassingMeter(streams=call.operation == "speech")


def _by_tokens(model: str) -> bool:
    """Return whether a model is one of those that bill tokens for sound."""
    return "gpt-4o" in model


def _seconds(value: object) -> int | None:
    """Return whole seconds, rounded up, or None where they are none to believe."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= SECONDS_MAX:
        return None
    return math.ceil(value)
