"""
Answer OpenAI's responses over a WebSocket.

Rules: what has one ``stream_id`` is answered in order, and its events name it; other lanes run at the same time.
Sources: the types of the ``openai`` SDK 3.57 (ResponsesServerEvent); OpenAI's guide to WebSocket mode.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from penia_proxy.sandbox import openai
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.models import served_name
from penia_proxy.sandbox.sockets import Line, Turn, usage_said
from penia_proxy.sandbox.words import identifier, tokens_of


class Responses:
    """One connection."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lanes: dict[str | None, asyncio.Lock] = {}

    async def open(self) -> None:
        """Say nothing until something is asked."""

    async def take(self, message: Mapping[str, Any]) -> None:
        lane = message.get("stream_id")
        if message.get("type") != "response.create" or not isinstance(message.get("model"), str):
            await self._refuse(lane, "you must provide a model parameter")
            return
        turn = self._line.turn("openai", served_name(str(message["model"])), message)
        self._line.answer(turn, partial(self._in_lane, turn, message, lane))

    async def _in_lane(self, turn: Turn, asked: Mapping[str, Any], lane: str | None) -> None:
        async with self._lanes.setdefault(lane, asyncio.Lock()):
            if turn.behaviour.status is not None:
                await self._refuse(lane, "The request was not understood.", status=turn.behaviour.status)
                return
            await self._say(turn, asked, lane)

    async def _refuse(self, lane: str | None, message: str, status: int = 400) -> None:
        error = {"type": "invalid_request_error", "code": None, "message": message, "param": None}
        await self._line.send({"type": "error", "status": status, "error": error} | _named(lane))

    async def _say(self, turn: Turn, asked: Mapping[str, Any], lane: str | None) -> None:
        cap = asked.get("max_output_tokens")
        said = turn.said[:cap] if isinstance(cap, int) else turn.said
        tokens = Tokens(input=tokens_of(str(asked.get("input"))) + 8, output=len(said))
        turn.call.report(tokens)
        response: dict[str, Any] = {
            "id": identifier("resp_", turn.seed, 48),
            "object": "response",
            "created_at": openai.created(turn.seed),
            "model": turn.call.served_model,
            "previous_response_id": asked.get("previous_response_id"),
            "service_tier": "default",
            "status": "in_progress",
            "output": [],
            "usage": None,
        }
        turn.call.request_id = str(response["id"])
        item_id = identifier("msg_", turn.seed, 48)
        events = self._events(response, item_id, said, usage_said(turn, _usage(tokens)))
        for number, event in enumerate(events):
            if event["type"].endswith(".delta"):
                await self._line.pause(turn)
                turn.call.produced_tokens += 1
            if turn.behaviour.error_after_chunks is not None and number >= turn.behaviour.error_after_chunks:
                error = {"type": "server_error", "code": "server_error", "message": "It failed.", "param": None}
                await self._line.send({"type": "error", "sequence_number": number, "error": error} | _named(lane))
                return
            if turn.behaviour.no_end and number == len(events) - 1:
                return
            await self._line.send({**event, "sequence_number": number} | _named(lane))

    def _events(self, response: Mapping[str, Any], item_id: str, said: list[str], usage: Any) -> list[dict[str, Any]]:
        text = "".join(said)
        where = {"item_id": item_id, "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        return [
            {"type": "response.created", "response": response},
            {"type": "response.in_progress", "response": response},
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**item, "status": "in_progress", "content": []},
            },
            {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
            *({"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []} for piece in said),
            {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
            {"type": "response.content_part.done", **where, "part": part},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {
                "type": "response.completed",
                "response": {**response, "status": "completed", "output": [item], "usage": usage},
            },
        ]


def _named(lane: str | None) -> dict[str, Any]:
    return {} if lane is None else {"stream_id": lane}


def _usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens.input + tokens.output,
    }
