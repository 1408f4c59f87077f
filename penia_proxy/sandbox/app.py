"""
Serve all providers on one port, under the paths they have themselves.

Its one job: turn a request into a question, a behaviour and a call on the bill, and hand the answer to delivery.
Rule: whatever arrives is answered in the shape of the provider it was meant for. It must not know what an answer says.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from penia_proxy.sandbox import (
    anthropic,
    anthropic_messages,
    embeddings,
    google,
    models,
    openai,
    openai_chat,
    sockets,
)
from penia_proxy.sandbox.answer import Answer, Question, Refused, interrupted
from penia_proxy.sandbox.bill import CALLS_MAX, Bill, Call, kept
from penia_proxy.sandbox.delivery import deliver
from penia_proxy.sandbox.faults import Asked, Behaviour, Script, Scripted, ScriptError, from_headers
from penia_proxy.sandbox.live import Live
from penia_proxy.sandbox.prompt_cache import TOKENS_MIN, PromptCache
from penia_proxy.sandbox.realtime import Realtime
from penia_proxy.sandbox.responses_socket import Responses
from penia_proxy.sandbox.sockets import Line, Spoken
from penia_proxy.sandbox.words import seed_of

BODY_BYTES_MAX = 64 << 20
"""More than any gateway in front lets through by default (32 MiB), so that its limit is the one that is tested."""

SHUTDOWN_S = 0.1
"""How long a stop waits for answers that are under way; stalled ones would never end by themselves."""


class _Frame(Protocol):
    """What :mod:`openai`, :mod:`anthropic` and :mod:`google` all have."""

    def error(
        self,
        seed: bytes,
        status: int,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> Answer: ...

    def stream_error(self, seed: bytes) -> bytes: ...


_FRAMES: Final[Mapping[str, _Frame]] = {"openai": openai, "anthropic": anthropic, "google": google}

_POSTS: Final[Mapping[str, tuple[str, Callable[[Question], Answer]]]] = {
    "/v1/chat/completions": ("openai", openai_chat.answer),
    "/v1/embeddings": ("openai", embeddings.answer),
    "/v1/messages": ("anthropic", anthropic_messages.answer),
    "/v1/messages/count_tokens": ("anthropic", anthropic_messages.count),
}


class Sandbox:
    """A provider of every kind. Make the application with :meth:`app`, or run it with :func:`running_sandbox`."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        default: Behaviour | None = None,
        log: Path | None = None,
        calls_max: int = CALLS_MAX,
        cache_tokens_min: int = TOKENS_MIN,
        unique_ids: bool = False,
    ) -> None:
        """``default`` is for calls that the script leaves alone. ``unique_ids``: equal calls differ, as in life."""
        self.url = ""
        """``http://127.0.0.1:port`` once it runs; every provider's ``base_url`` in Penia's configuration."""
        self._default = default or Behaviour()
        self._scripted = Scripted(script, self._default)
        self._bill = Bill(log=log, calls_max=calls_max)
        self._cache = PromptCache(tokens_min=cache_tokens_min)
        self._unique_ids = unique_ids

    @property
    def calls(self) -> list[Call]:
        """Everything that arrived, oldest first."""
        return self._bill.calls

    def play(self, script: Script | None) -> None:
        """Replace the script from the next request on."""
        self._scripted = Scripted(script, self._default)

    def forget(self) -> None:
        """Empty the prompt caches, so that the same call is answered with the same counts again."""
        self._cache.forget()

    def app(self) -> web.Application:
        """Return the application; serve it with ``handler_cancellation=True``: who hangs up stops the bill."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.on_cleanup.append(self._on_cleanup)
        return app

    async def _on_cleanup(self, _app: web.Application) -> None:
        self._bill.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        spoken = _spoken(request)
        if spoken is not None:
            return await self._socket(request, spoken)
        raw = await request.read()
        provider = _provider_of(request)
        call = self._bill.start(
            provider=provider,
            method=request.method,
            path=request.path,
            body_bytes=len(raw),
            headers=request.headers,
        )
        body, malformed = _parsed(raw)
        _describe(call, body)
        if provider == "google":
            call.model, call.streamed = kept(google.model_of(request.path)), google.is_stream(request.path)
        behaviour = Behaviour()
        try:
            asked = Asked(call.number, provider, request.path, request.headers, body)
            behaviour = self._scripted.next(asked)
            call.behaviour = behaviour.changed()
            answer = self._answer(request, call, body, behaviour, malformed=malformed)
        except ScriptError as error:
            answer = _FRAMES[provider].error(seed_of({}), 400, f"X-Sandbox: {error}")
        call.report(answer.tokens)
        call.request_id, call.served_model = answer.request_id, answer.served_model
        call.service_tier, call.usage_sent = answer.service_tier, behaviour.usage
        self._bill.begun(call)
        return await deliver(request, answer, behaviour, call, self._bill)

    async def _socket(self, request: web.Request, spoken: Callable[[Line], Spoken]) -> web.StreamResponse:
        """Serve a WebSocket, unless the caller has no key or asks to be refused."""
        status = None if _has_key(request) or sockets.offers_key(request) else 401
        if (refused := status or from_headers(self._default, request.headers).status) is not None:
            answer = openai.error(seed_of({}), refused)
            body = b"".join(piece.data for piece in answer.pieces)
            return web.Response(status=refused, body=body, headers=answer.headers)
        return await sockets.serve(request, self._bill, self._scripted, spoken)

    def _answer(
        self, request: web.Request, call: Call, body: Mapping[str, Any], behaviour: Behaviour, *, malformed: bool
    ) -> Answer:
        """Return the answer, or the error that the request or the script deserves. Raises nothing."""
        frame = _FRAMES[call.provider]
        seed = seed_of(body, f"{call.path}#{call.number}" if self._unique_ids else call.path)
        if not _has_key(request):
            return frame.error(seed, 401)
        if behaviour.status is not None:
            return frame.error(seed, behaviour.status, retry_after_s=behaviour.retry_after_s)
        if behaviour.error_body:
            return replace(frame.error(seed, 500), status=200)
        if malformed:
            return frame.error(seed, 400, "The body of the request is not a JSON object.")
        try:
            answer = self._ask(request, call, Question(body=body, seed=seed, behaviour=behaviour, cache=self._cache))
        except Refused as refused:
            return frame.error(seed, refused.status, str(refused), param=refused.param, code=refused.code)
        if behaviour.error_after_chunks is None or not answer.streamed:
            return answer
        cut = interrupted(answer.pieces, behaviour.error_after_chunks, frame.stream_error(seed))
        return replace(answer, pieces=cut)

    def _ask(self, request: web.Request, call: Call, question: Question) -> Answer:
        """Find what answers. Raises Refused."""
        if call.provider == "google":
            return google.answer(question, request.method, request.path)
        found = _POSTS.get(request.path)
        if found is not None and request.method == "POST":
            return found[1](question)
        if request.method == "GET" and request.path.startswith("/v1/models"):
            name = request.path.removeprefix("/v1/models").strip("/")
            if call.provider == "anthropic":
                return models.anthropic_one(question.seed, name) if name else models.anthropic_list(question.seed)
            return models.openai_one(question.seed, name) if name else models.openai_list(question.seed)
        raise Refused(404, f"Invalid URL ({request.method} {call.path})")


@asynccontextmanager
async def running_sandbox(
    script: Script | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    default: Behaviour | None = None,
    log: Path | None = None,
    calls_max: int = CALLS_MAX,
    cache_tokens_min: int = TOKENS_MIN,
    unique_ids: bool = False,
) -> AsyncIterator[Sandbox]:
    """Run a sandbox on a real socket; port 0 takes a free one. Leaving stops it, and cancels what still runs."""
    sandbox = Sandbox(
        script,
        default=default,
        log=log,
        calls_max=calls_max,
        cache_tokens_min=cache_tokens_min,
        unique_ids=unique_ids,
    )
    runner = web.AppRunner(
        sandbox.app(),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_S,
        # A peer that goes away mid-answer is a scripted event here, not news.
        logger=logging.getLogger("penia.sandbox"),
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        sandbox.url = f"http://{host}:{runner.addresses[0][1]}"
        yield sandbox
    finally:
        await asyncio.shield(runner.cleanup())


def _provider_of(request: web.Request) -> str:
    """Return whose API was meant: by the path, and where both have it (``/v1/models``), by what only one sends."""
    found = _POSTS.get(request.path)
    if found is not None:
        return found[0]
    headers = request.headers
    if google.is_google(request.path, headers):
        return "google"
    only_anthropic = "anthropic-version" in headers or "x-api-key" in headers
    return "anthropic" if only_anthropic or request.path.startswith("/v1/messages") else "openai"


def _spoken(request: web.Request) -> Callable[[Line], Spoken] | None:
    """Return what is spoken over the WebSocket that a request wants to be, None for any other request."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return None
    if request.path.endswith("/responses"):
        return Responses
    if request.path.startswith("/ws/"):
        return Live
    return Realtime if request.path.endswith("/realtime") else None


def _has_key(request: web.Request) -> bool:
    """Return whether any key was sent, where a provider's SDK puts it; every key is good."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = scheme.lower() == "bearer" and bool(token.strip())
    named = any(request.headers.get(name, "").strip() for name in ("x-api-key", "x-goog-api-key"))
    return bearer or named or bool(request.query.get("key", "").strip())


def _parsed(raw: bytes) -> tuple[Mapping[str, Any], bool]:
    """Return ``(body, whether it is malformed)``; no body is an empty one."""
    if not raw:
        return {}, False
    try:
        body = orjson.loads(raw)
        # What is nested too deeply to be written again has no seed.
        orjson.dumps(body)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return {}, True
    return (body, False) if isinstance(body, dict) else ({}, True)


def _describe(call: Call, body: Mapping[str, Any]) -> None:
    metadata = body.get("metadata")
    call.model = kept(body.get("model"))
    call.user = kept(body.get("user")) or (kept(metadata.get("user_id")) if isinstance(metadata, Mapping) else None)
    call.streamed = body.get("stream") is True
