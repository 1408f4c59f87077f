"""
Put Penia's headers on an answer.

Its one job: api.md §1's ``X-Penia-*`` and ``Server-Timing``.
Rules: what a person named (budgets) is percent-encoded where it is not printable ASCII, so that no header can be
forged by a name.
"""

from datetime import datetime
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

from multidict import CIMultiDictProxy

from penia_proxy.budget.engine import LegVerdict, Verdict
from penia_proxy.budget.money import usd_text
from penia_proxy.clock import Clock
from penia_proxy.gateway.downstream import Fields

SERVER = "Penia"
"""Who serves, where the provider has not said so; aiohttp would name itself and Python's version."""
WARNINGS_MAX = 16
"""Lines of budgets that warn, the fullest of them: clients take some hundred headers, or refuse the answer."""

_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%;")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Return an HTTP date (RFC 9110 §5.6.7); a thousand answers have the same."""
    return formatdate(second, usegmt=True)


def date_of(now: datetime) -> str:
    """Return an instant as an HTTP date."""
    return _date(int(now.timestamp()))


class Stamp:
    """The headers of one answer, filled in as its call goes on."""

    def __init__(self, clock: Clock, request_id: str) -> None:
        self._clock = clock
        self._request_id = request_id
        self.started = clock.monotonic()
        """The monotonic instant at which the request came."""
        self._sent: float | None = None
        self._answered: float | None = None
        self._verdict: Verdict | None = None
        self._changed: tuple[str, ...] = ()

    def admitted(self, verdict: Verdict, changed: tuple[str, ...]) -> None:
        """Take the verdict and what we set in the request."""
        self._verdict = verdict
        self._changed = changed

    def sent(self) -> None:
        """Take the instant the call left."""
        self._sent = self._clock.monotonic()

    def answered(self) -> None:
        """Take the instant the provider's headers came."""
        self._answered = self._clock.monotonic()

    def since_start_ms(self, instant: float | None) -> float | None:
        """Return milliseconds between the request and a monotonic instant."""
        return None if instant is None else round((instant - self.started) * 1000, 3)

    def put(self, fields: Fields, said: CIMultiDictProxy[str]) -> None:
        """Add the headers that are known when an answer begins to what crosses of those that the provider ``said``."""
        if "Server" not in said:
            fields.append(("Server", SERVER))
        if "Date" not in said:
            fields.append(("Date", date_of(self._clock.now())))
        fields.append(("X-Penia-Request-Id", self._request_id))
        verdict = self._verdict
        fields.append(("X-Penia-Verdict", verdict.kind if verdict else "allow"))
        fields.append(("X-Penia-Estimated-Cost", usd_text(verdict.amount_nanos if verdict else 0)))
        if verdict is not None:
            remaining = verdict.remaining_nanos
            if remaining is not None:
                fields.append(("X-Penia-Remaining", usd_text(remaining)))
            if verdict.kind == "warn":
                warnings = [word for word in verdict.words if word.kind == "warn"]
                if len(warnings) > WARNINGS_MAX:
                    warnings = sorted(warnings, key=_percent, reverse=True)[:WARNINGS_MAX]
                fields += [("X-Penia-Budget-Warning", _warning(word)) for word in warnings]
        if self._changed:
            fields.append(("X-Penia-Changed", ", ".join(self._changed)))
        fields.append(("Server-Timing", self._timing()))

    def _timing(self) -> str:
        now = self._clock.monotonic()
        sent = self._sent if self._sent is not None else now
        answered = self._answered if self._answered is not None else now
        upstream = answered - sent
        return f"penia;dur={(now - self.started - upstream) * 1000:.2f}, upstream;dur={upstream * 1000:.2f}"


def _warning(word: LegVerdict) -> str:
    name = quote(word.budget.name, safe=_PRINTABLE)
    if word.code == "unpriced_model":
        return f"{name}; {word.window.period}; unpriced"
    return f"{name}; {word.window.period}; {_percent(word):.0f}%"


def _percent(word: LegVerdict) -> float:
    used = word.spent_nanos + word.held_nanos + word.amount_nanos
    return 100 * used / word.limit_nanos if word.limit_nanos else 100
