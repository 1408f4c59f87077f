"""
Serve all providers on one port, under the paths they have themselves.

Its one job: turn a request into a question, a behaviour and a call on the bill, and hand the answer to delivery.
Rule: whatever arrives is answered in the shape of the provider it was meant for. It must not know what an answer says.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from penia_proxy.sandbox.answer import Answer, Question, interrupted
from penia_proxy.sandbox.bill import CALLS_MAX, Bill, Call, kept
from penia_proxy.sandbox.delivery import deliver
from penia_proxy.sandbox.faults import Asked, Behaviour, Script, Scripted, ScriptError
from penia_proxy.sandbox.forms import Upload, read_form
from penia_proxy.sandbox.prompt_cache import TOKENS_MIN, PromptCache
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.routes import PROVIDERS, Found, find
from penia_proxy.sandbox.words import seed_of
from penia_proxy.sandbox.work import Store

BODY_BYTES_MAX = 64 << 20
"""More than any gateway in front lets through by default (32 MiB), so that its limit is the one that is tested."""

SHUTDOWN_S = 0.1
"""How long a stop waits for answers that are under way; stalled ones would never end by themselves."""


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
        """``http://127.0.0.1:port`` once it runs."""
        self._default = default or Behaviour()
        self._scripted = Scripted(script, self._default)
        self._bill = Bill(log=log, calls_max=calls_max)
        self._cache = PromptCache(tokens_min=cache_tokens_min)
        self._store = Store()
        self._unique_ids = unique_ids

    def url_of(self, provider: str) -> str:
        """Return one provider's address, which works where two have the same path; of another it is the sandbox's."""
        return f"{self.url}/{provider}" if provider in PROVIDERS else self.url

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
        raw = await request.read()
        found = find(request.method, request.rel_url.raw_path, request.headers)
        call = self._bill.start(
            provider=found.provider.name,
            method=request.method,
            path=found.path,
            body_bytes=len(raw),
            headers=request.headers,
        )
        body, upload = _parsed(raw, request.headers.get("Content-Type", ""))
        _describe(call, body or {}, found)
        behaviour = Behaviour()
        try:
            asked = Asked(call.number, call.provider, call.path, request.headers, body or {})
            behaviour = self._scripted.next(asked)
            call.behaviour = behaviour.changed()
            answer = self._answer(request, found, call, behaviour, body, upload)
        except ScriptError as error:
            answer = found.frame.error(seed_of({}), 400, f"X-Sandbox: {error}")
        call.report(answer.tokens)
        call.request_id, call.served_model, call.later = answer.request_id, answer.served_model, answer.later
        call.service_tier, call.usage_sent, call.streamed = answer.service_tier, behaviour.usage, answer.streamed
        self._bill.begun(call)
        return await deliver(request, answer, behaviour, call, self._bill)

    def _answer(
        self,
        request: web.Request,
        found: Found,
        call: Call,
        behaviour: Behaviour,
        body: Mapping[str, Any] | None,
        upload: Upload | None,
    ) -> Answer:
        """Return the answer, or the error that the request or the script deserves. Raises nothing."""
        frame = found.frame
        seed = seed_of(body or {}, f"{found.salt}#{call.number}" if self._unique_ids else found.salt)
        if found.provider.needs_key and not _has_key(request):
            return frame.error(seed, 401)
        if behaviour.status is not None:
            return frame.error(seed, behaviour.status, retry_after_s=behaviour.retry_after_s)
        if behaviour.error_body:
            return replace(frame.error(seed, 500), status=200)
        if body is None:
            return frame.error(seed, 400, "The body of the request is not a JSON object.")
        if found.route is None:
            return frame.error(seed, 404, f"Invalid URL ({call.method} {call.path})")
        question = Question(
            body=body,
            seed=seed,
            behaviour=behaviour,
            cache=self._cache,
            store=self._store,
            values=found.values,
            query=request.query,
            origin=f"{request.url.origin()}{found.prefix}",
            upload=upload,
        )
        try:
            answer = found.route.answer(question)
        except Refused as refused:
            return frame.error(seed, refused.status, str(refused), param=refused.param, code=refused.code)
        if behaviour.error_after_chunks is None or not answer.streamed:
            return answer
        failure = answer.failure or frame.stream_error(seed)
        return replace(answer, pieces=interrupted(answer.pieces, behaviour.error_after_chunks, failure))


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


def _has_key(request: web.Request) -> bool:
    """Return whether any key was sent, where a provider's SDK puts it; every key is good."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = scheme.lower() in ("bearer", "aws4-hmac-sha256") and bool(token.strip())
    named = any(request.headers.get(name, "").strip() for name in ("x-api-key", "x-goog-api-key"))
    return bearer or named or bool(request.query.get("key", "").strip())


def _parsed(raw: bytes, content_type: str) -> tuple[Mapping[str, Any] | None, Upload | None]:
    """Return the JSON object or the form's fields, and the form's file; None for a body that is neither."""
    form = read_form(raw, content_type)
    if form is not None:
        fields, upload = form
        # What is answered depends on the file as well.
        return ({**fields, "file": hashlib.sha256(upload.content).hexdigest()} if upload else fields), upload
    if not raw:
        return {}, None
    try:
        body = orjson.loads(raw)
        # What is nested too deeply to be written again has no seed.
        orjson.dumps(body)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None, None
    return (body if isinstance(body, dict) else None), None


def _describe(call: Call, body: Mapping[str, Any], found: Found) -> None:
    metadata = body.get("metadata")
    call.model = kept(found.values[0] if found.route and found.route.model_in_path else body.get("model"))
    call.user = kept(body.get("user")) or (kept(metadata.get("user_id")) if isinstance(metadata, Mapping) else None)
