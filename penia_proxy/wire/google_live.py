"""
Read sessions of Google's Live API: Gemini's and Vertex AI's.

Its one job: what a session's setup asks for, and which message has the bill of a turn.
Rules: the first message of a client is the setup, which names the model; until it is held nothing is passed on. From
then on the model may answer at any moment, so the next turn is always held. Each ``usageMetadata`` is the bill of one
turn (wire_formats.md §1.3): it counts everything that the session has heard. Messages are JSON, in text or binary
frames, and fields have two spellings. A refusal has no message of its own: the connection is closed with it. Nor is
there one that ends an answer: what interrupts it is said in the conversation, and answered. Sources:
google-genai 3.6.1's live.py and types; recorded sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.body import model_of, read_object
from penia_proxy.wire.call import Call, Reading
from penia_proxy.wire.content import dicts
from penia_proxy.wire.conversation import GEMINI_PACE, Conversation, sound_ms
from penia_proxy.wire.google_content import ContentReader, member
from penia_proxy.wire.reported import json_of
from penia_proxy.wire.session import NOTHING, Heard, Turn, in_sound, in_writing

HEARD_BYTES_PER_MS = 32
"""Of sound that is sent: 16,000 samples of 16 bits a second (ai.google.dev/gemini-api/docs/live)."""

_UNBOUNDED = "an answer of a session can begin by itself, and reads all that was said before it"


@dataclass(frozen=True, slots=True)
class _Made:
    """What of a message counts."""

    parts: list[dict[str, Any]]
    transcript: object
    grounding: object
    usage: object
    over: bool

    @property
    def says(self) -> bool:
        """Whether the model says anything in it."""
        return bool(self.parts or self.transcript)


class _Answer:
    """One turn of the model, from its hold to its bill."""

    def __init__(self, call: Call, conversation: Conversation) -> None:
        self._reader = ContentReader(call.model)
        self._conversation = conversation
        self.spoken_ms = 0.0
        self.over = False
        """Whether the model has said that it is: its usage comes with that, or after it, or never."""
        self.turn = Turn(
            call,
            self.reading,
            passed=self._reader.passed,
            further=in_sound if call.size.presumed_output == "output_audio" else in_writing,
        )

    def take(self, made: "_Made") -> None:
        """Take what the model says, and what it cost, in the words of `ContentReader`."""
        for part in made.parts:
            inline = member(part, "inlineData")
            if isinstance(inline, dict):
                self.spoken_ms += sound_ms(inline.get("data"))
        self.turn.sounded(self._conversation.spoken(self.spoken_ms))
        self._reader.passed.add(made.transcript)
        self.over = self.over or made.over
        self._reader.document(
            {
                "candidates": [{"content": {"parts": made.parts}, "groundingMetadata": made.grounding}],
                "usageMetadata": made.usage,
            }
        )

    def reading(self) -> Reading:
        read = self._reader.reading()
        if read.complete:
            return read
        made = Usage(output_audio=self._conversation.spoken(self.spoken_ms))
        return replace(
            read,
            parts=((None, self._conversation.input().plus(made)),),
            finished=self.over,
        )


class LiveSession:
    """One connection; see `penia_proxy.wire.session.Session`."""

    def __init__(self) -> None:
        self._conversation = Conversation(GEMINI_PACE)
        self._model = ""
        self._speaks = True
        self._output_cap: int | None = None
        self._answer: _Answer | None = None

    def opening(self) -> Turn | None:
        return None

    def asked(self, frame: bytes) -> Turn | None:
        members = read_object(frame)
        setup = member(members, "setup")
        if self._answer is None:
            return self._set_up(setup, len(frame))
        if setup is not None:
            raise InvalidRequest("A session is set up once; open another one for other settings.")
        heard = member(members, "realtimeInput")
        if isinstance(heard, dict):
            self._listen(heard)
            return None
        self._conversation.add(text_bytes=len(frame))
        said = member(members, "clientContent")
        if member(members, "toolResponse") is not None or (isinstance(said, dict) and member(said, "turnComplete")):
            self._answer.turn.begun = True
        return None

    def withdrawn(self, turn: Turn) -> None:  # noqa: ARG002 - there is one turn at a time
        self._answer = None

    def heard(self, frame: bytes) -> Heard:
        message = json_of(frame)
        if self._answer is None or not isinstance(message, dict):
            return NOTHING
        try:
            made = _made(message)
        except InvalidRequest:  # one field in two spellings: whatever it means, it is no bill
            return NOTHING
        ended: tuple[Turn, ...] = ()
        needed = None
        if self._answer.over and made.says:
            # The last turn's bill never came (it was interrupted): this is another one.
            ended = (self._answer.turn,)
            self._answer = self._next()
            needed = self._answer.turn
        answer = self._answer
        answer.take(made)
        reading = answer.reading()
        answer.turn.begun = answer.turn.begun or made.says or reading.complete
        if not reading.complete:
            return Heard(ended=ended, needed=needed)
        self._conversation.answered(reading.parts[0][1])
        self._answer = self._next()
        return Heard(ended=(*ended, answer.turn), needed=self._answer.turn)

    def cancelling(self, turn: Turn) -> bytes | None:  # noqa: ARG002 - what interrupts is content
        return None

    def refusal(self, error: PeniaError, penia: Mapping[str, object], frame: bytes | None) -> bytes | None:  # noqa: ARG002
        return None

    def _set_up(self, setup: object, size: int) -> Turn:
        """Take the first message. Raises InvalidRequest."""
        if not isinstance(setup, dict):
            raise InvalidRequest("The first message must be the setup, which names the model.")
        named = model_of({"model": setup.get("model")})
        self._model = model_of({"model": named.rsplit("/", 1)[-1]})
        config = member(setup, "generationConfig")
        config = config if isinstance(config, dict) else {}
        kinds = member(config, "responseModalities")
        self._speaks = not isinstance(kinds, list) or not kinds or "AUDIO" in map(str, kinds)
        cap = member(config, "maxOutputTokens")
        self._output_cap = cap if isinstance(cap, int) and not isinstance(cap, bool) and cap > 0 else None
        self._conversation.add(text_bytes=size)
        self._answer = self._next()
        return self._answer.turn

    def _next(self) -> _Answer:
        size = Size(
            text_bytes=0,
            audio=True,
            output_cap=self._output_cap,
            presumed=self._conversation.input(),
            presumed_output="output_audio" if self._speaks else "output",
            unbounded_why=_UNBOUNDED,
        )
        call = Call(operation="live", model=self._model, stream=True, size=size, body=b"", text=str)
        return _Answer(call, self._conversation)

    def _listen(self, heard: Mapping[str, Any]) -> None:
        """Take what is sent as it happens: sound, pictures, text."""
        text = heard.get("text")
        if isinstance(text, str):
            self._conversation.add(text_bytes=len(text.encode("utf-8", "surrogatepass")))
        media = [member(heard, name) for name in ("audio", "video", "media")]
        for blob in (*dicts(media), *dicts(member(heard, "mediaChunks"))):
            kind = str(member(blob, "mimeType") or "")
            if kind.startswith("audio/"):
                self._conversation.add(sound_ms=sound_ms(blob.get("data"), HEARD_BYTES_PER_MS))
            else:
                self._conversation.add(image_tokens=image_tokens_max("google", self._model))


def _made(message: Mapping[str, Any]) -> _Made:
    """Return what of a provider's message counts. Raises InvalidRequest for a field in two spellings."""
    content = member(message, "serverContent")
    content = content if isinstance(content, dict) else {}
    said, calls = member(content, "modelTurn"), member(message, "toolCall")
    written = member(content, "outputTranscription")
    return _Made(
        parts=[
            *(dicts(said.get("parts")) if isinstance(said, dict) else []),
            *(
                {"functionCall": call}
                for call in dicts(member(calls, "functionCalls") if isinstance(calls, dict) else [])
            ),
        ],
        transcript=written.get("text") if isinstance(written, dict) else None,
        grounding=member(content, "groundingMetadata"),
        usage=member(message, "usageMetadata"),
        over=bool(member(content, "turnComplete") or member(content, "interrupted")),
    )
