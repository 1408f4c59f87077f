"""
Keep what must not be lost.

Its one job: the ledger as the rest of the program sees it: moves that are durable when they say so, and reads.
Rules: a move is queued in the step that asks for it, in that order, and no cancellation takes it back. Reads come from
snapshots and never wait for writes; `caught_up` is for whoever must read what was just written.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from penia_proxy.budget.alert import Alert
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.grants import Approval, Grant
from penia_proxy.budget.money import CALL_NANOS_MAX
from penia_proxy.budget.record import Hold, Tally, UsageRecord
from penia_proxy.budget.windows import WindowKey
from penia_proxy.budget.words import Refusal
from penia_proxy.clock import Clock, iso
from penia_proxy.config import LedgerConfig
from penia_proxy.errors import ConfigError, InvalidRequest, InvariantError, PeniaError
from penia_proxy.ledger.alerts import AlertQueries, Notification
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.archiving import Archiving
from penia_proxy.ledger.checking import look_at_rest
from penia_proxy.ledger.file import FileLock, explained, open_for_writing, reading
from penia_proxy.ledger.folding import GRACE
from penia_proxy.ledger.gauges import Gauges
from penia_proxy.ledger.history import History, PastCall
from penia_proxy.ledger.lists import Lists
from penia_proxy.ledger.moves import (
    Append,
    Barrier,
    Defer,
    Expire,
    Extend,
    Fold,
    MarkAlert,
    RaiseAlert,
    Reconcile,
    Release,
    Reserve,
    ResolveAlert,
    SaveBudget,
    SaveName,
    SaveSetting,
    Settle,
    UpdateNotification,
)
from penia_proxy.ledger.queries import Queries
from penia_proxy.ledger.reconciliations import Reconciliation, Reconciliations
from penia_proxy.ledger.rows import hour_of
from penia_proxy.ledger.rulings import Decide, ForgetRefusals, Give, KeepRefusal, Lapse, Rulings, SaveApproval
from penia_proxy.ledger.summary import Summaries
from penia_proxy.ledger.transaction import Known
from penia_proxy.ledger.writer import Writer

CAUGHT_UP_S_MAX = 1.0
RECORD_TOKENS_MAX = 10**12

FOLD_S = 0.01
FOLD_BUSY_S = 0.1
"""Between two steps of folding, so that calls get in between; longer where some are waiting."""
FOLD_LOOK_S = 60.0
"""How often it is looked whether an hour is over; the wall clock may jump, so nobody sleeps until then."""
LOOK_S = 30.0
"""How often it is looked whether archives are where they were: in a thread, as a disk may be away that they are on."""

FINGERPRINT_BYTES = 4
"""
Enough to tell one request from another, and too little to be one: no prompt can be read back from four bytes, and with
the ledger's own key in hand a guess of one is confirmed only as far as one in four thousand million goes. Two requests
that agree by chance are told that they are the same; neither is forwarded twice.
"""


class Ledger:
    """One open ledger; the only one that may write to its file. Made by `Ledger.open`."""

    def __init__(self, lock: FileLock, writer: Writer, engine: AsyncEngine, clock: Clock, known: Known) -> None:
        self._lock = lock
        self._key = known.key
        self._files = known.files
        self._writer = writer
        self._engine = engine
        self._clock = clock
        self._closed = False
        self.damage: str | None = None
        """What is damaged in the file, as far as it has been looked at."""
        self.correcting = asyncio.Lock()
        """Held from reading what a call has come to, to the acknowledged correction of it."""
        self.queries = Queries(engine, known.files)
        self.lists = Lists(engine, known.files)
        self.summaries = Summaries(engine, known.files)
        self.rulings = Rulings(engine)
        self.history = History(engine, known.files)
        self.alerts = AlertQueries(engine)
        self.reconciliations = Reconciliations(engine)
        self.gauges = Gauges(engine)

    @classmethod
    async def open(cls, config: LedgerConfig, clock: Clock) -> "Ledger":
        """
        Lock, check and migrate the file, creating it if there is none, and start to write.

        Raises ConfigError, with what to do, for a file that is in use, damaged, newer, read-only or not a ledger.
        """
        path, lock, connection = await asyncio.to_thread(open_for_writing, config)
        try:
            with explained(path):
                known = await asyncio.to_thread(Known.read, connection, Files(path))
            archiving = Archiving(known.files, config.retention_months, clock.now)
            await asyncio.to_thread(archiving.look, connection)
        except BaseException as error:
            connection.close()
            lock.release()
            if isinstance(error, (ValueError, PeniaError)):
                raise ConfigError(f"{path} has a budget that this version cannot read: {error}") from error
            raise
        return cls(lock, Writer(connection, known, clock, archiving), reading(path), clock, known)

    async def close(self) -> None:
        """Write what is queued, fold the log into the file, let others write. Closing twice equals once."""
        if self._closed:
            return
        self._closed = True
        await self._engine.dispose()  # first, so that the writer is the last one out and takes the log with it
        await self._writer.stop()
        self._files.close()
        self._lock.release()

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded."""
        return self._writer.healthy

    @property
    def archives(self) -> int:
        """Months whose records are in files of their own."""
        return self._files.months

    @property
    def archive_problem(self) -> str | None:
        """What is wrong with an archive, as far as it has been noticed; None: nothing."""
        return self._files.problem

    @property
    def queue_depth(self) -> int:
        """Moves that are not durable yet."""
        return self._writer.depth

    @property
    def commits(self) -> int:
        """Transactions since the start."""
        return self._writer.commits

    @property
    def holds_open(self) -> int:
        """Holds on disk that have not ended."""
        return self._writer.holds_open

    def fingerprint(self, *parts: bytes) -> str:
        """Return what tells a repetition of these bytes from others: BLAKE2b under this ledger's own random key."""
        digest = hashlib.blake2b(key=self._key, digest_size=FINGERPRINT_BYTES)
        for part in parts:
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.hexdigest()

    async def reserve(self, hold: Hold, *, unique: bool = False) -> None:
        """
        Open a hold; durable when it returns.

        An id that need not be found ``unique`` must be new: a hold of it whose end is queued counts as open.
        Raises DuplicateRequest for an id that has an open hold or, where it must be ``unique``, a record, Conflict
        where that had another fingerprint, and StoreUnavailable when the database fails. None leaves a hold behind, nor
        does a caller that is cancelled.
        """
        reserved = self._writer.submit(Reserve(hold, unique))
        try:
            await reserved
        except asyncio.CancelledError:
            if not reserved.cancelled() and reserved.exception() is None:
                let_run(self.release(hold.hold_id))  # it is durable, and whoever asked has not seen that yet
            raise

    def settle(self, record: UsageRecord) -> "asyncio.Future[None]":
        """
        End the hold of this id with what it cost; queued in this step, done when durable, tried until it is.

        Settling an id twice equals once. Fails only for a record that can never be written (InvariantError).
        """
        return self._writer.submit(Settle(record))

    def release(self, hold_id: str) -> "asyncio.Future[None]":
        """End a hold that cost nothing; queued in this step, done when durable. Releasing twice equals once."""
        return self._writer.submit(Release(hold_id))

    def defer(self, hold_id: str, once_key: str) -> "asyncio.Future[None]":
        """Keep the once-key of an open hold, so that a crash does not forget it; queued in this step."""
        return self._writer.submit(Defer(hold_id, once_key))

    def extend(self, hold_id: str, amount_nanos: int) -> "asyncio.Future[None]":
        """Keep what an open hold has grown to: what a crash would charge; queued in this step."""
        return self._writer.submit(Extend(hold_id, amount_nanos))

    async def billed(self, once_key: str) -> UsageRecord | None:
        """Return the record that has the bill of a once-key, those of this moment included."""
        await self.caught_up()
        return await self.queries.billed(once_key)

    async def save_name(self, name: str, once_key: str) -> None:
        """Keep another name of the bill of a once-key; the newest word counts. Raises StoreUnavailable."""
        await asyncio.shield(self._writer.submit(SaveName(name, once_key)))

    async def corrections(self, record_id: str) -> list[UsageRecord]:
        """Return the corrections of a record in the order of writing, those of this moment included."""
        await self.caught_up()
        return await self.queries.corrections(record_id)

    async def append(self, record: UsageRecord, fingerprint: str) -> tuple[UsageRecord, bool]:
        """
        Count a posted record; return the stored one, and whether it was created now.

        The same id with the same fingerprint is the first record, and so is a record with the same once-key. Raises
        Conflict for another fingerprint or the id of a call in flight, NotFound for an unknown ``corrects``,
        InvalidRequest for figures no call can have.
        """
        _check(record)
        if await asyncio.shield(self._writer.submit(Append(record, fingerprint))):
            return record, True
        stored = await self.queries.record(record.record_id)
        if stored is None and record.once_key is not None:
            stored = await self.queries.billed(record.once_key)
        if stored is None:
            raise InvariantError(f"the usage record {record.record_id!r} exists and cannot be read")
        return stored, False

    async def recover(self) -> list[UsageRecord]:
        """Turn the holds of a process that died into `unconfirmed` records at what they held. Idempotent."""
        expired: list[UsageRecord] = await asyncio.shield(self._writer.submit(Expire()))
        return expired

    async def save_budget(self, budget: Budget, audit: Mapping[str, Any] | None = None) -> None:
        """
        Insert or update a budget; its windows are recounted in the same transaction if its calendar changed.

        ``audit`` names ``actor`` and ``action`` (anything else is kept as details); old and new spec are added.
        """
        await asyncio.shield(self._writer.submit(SaveBudget(budget, audit, self._clock.now())))

    async def give(self, grant: Grant, actor: str) -> None:
        """Keep a grant, and who gave it."""
        await asyncio.shield(self._writer.submit(Give(grant, actor)))

    def save_approval(self, approval: Approval) -> "asyncio.Future[None]":
        """Keep a request for approval, or how often it was made since; queued in this step."""
        return self._writer.submit(SaveApproval(approval))

    async def decide(self, approval: Approval, grant: Grant | None, actor: str) -> None:
        """Keep the answer to a request. Raises Conflict for one that was answered."""
        await asyncio.shield(self._writer.submit(Decide(approval, grant, actor)))

    def lapse(self, approval: Approval, actor: str) -> None:
        """Close a request that nobody need answer any more, unless it is answered; queued in this step."""
        let_run(self._writer.submit(Lapse(approval, actor)))

    def keep_refusal(self, refusal: Refusal) -> "asyncio.Future[None]":
        """Keep a refusal; queued in this step. Fails where the database does: it is not tried again."""
        return self._writer.submit(KeepRefusal(refusal))

    def forget_refusals(self) -> "asyncio.Future[None]":
        """Drop the refusals that are too old or too many; queued in this step."""
        return self._writer.submit(ForgetRefusals(self._clock.now()))

    def raise_alert(self, alert: Alert, notifications: tuple[Notification, ...]) -> "asyncio.Future[bool]":
        """Keep an alert and what is to be sent of it; queued in this step. The result: whether it was not known yet."""
        return self._writer.submit(RaiseAlert(alert, notifications))

    def resolve_alert(self, alert_id: str) -> "asyncio.Future[None]":
        """Say that an alert's reason is gone; queued in this step."""
        return self._writer.submit(ResolveAlert(alert_id, self._clock.now()))

    async def mark_alert(self, alert_id: str, mark: Literal["dismissed", "acknowledged"]) -> bool:
        """Mark an alert; return whether there is one. Raises StoreUnavailable."""
        return bool(await asyncio.shield(self._writer.submit(MarkAlert(alert_id, mark))))

    def update_notification(self, notification: Notification) -> "asyncio.Future[None]":
        """Keep what became of an attempt; queued in this step."""
        return self._writer.submit(UpdateNotification(notification))

    async def save_setting(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a setting. Raises StoreUnavailable."""
        await asyncio.shield(self._writer.submit(SaveSetting(name, value)))

    async def keep_reconciliation(self, one: Reconciliation) -> None:
        """Keep what a provider's report was compared with; durable when it returns. Raises StoreUnavailable."""
        await asyncio.shield(self._writer.submit(Reconcile(one)))

    async def fold(self) -> bool:
        """Fold the next rollups of hours that are over; return whether there were any. Raises StoreUnavailable."""
        return bool(await asyncio.shield(self._writer.submit(Fold(hour_of(iso(self._clock.now() - GRACE))))))

    async def keep_folding(self) -> None:
        """Fold for ever: what is left of earlier, then each hour once it is over; a little at a time."""
        while True:
            left = False
            with contextlib.suppress(PeniaError):  # which the log has; what is not folded is read as it is
                left = await self.fold()
            await asyncio.sleep((FOLD_BUSY_S if self.queue_depth else FOLD_S) if left else FOLD_LOOK_S)

    async def keep_looking(self) -> None:
        """Look for damage, once; then notice for ever which archives have gone or come back, also where nobody asks."""
        self.damage = await asyncio.to_thread(look_at_rest, self._files.ledger)
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self._files.look_again)

    async def budgets(self) -> list[Budget]:
        """Return every budget, oldest first, inactive ones included."""
        return await self.queries.budgets()

    async def tallies(self, now: datetime) -> dict[WindowKey, Tally]:
        """Return spent, tokens and requests of every window that may still matter."""
        return await self.queries.tallies(now)

    async def recent_calls(self, limit: int) -> list[PastCall]:
        """Return what the newest calls teach, newest first."""
        return await self.history.recent_calls(limit)

    async def caught_up(self) -> None:
        """Wait until what was queued before is durable, at most a second: then reads see it."""
        if self.queue_depth:
            await asyncio.wait({self._writer.submit(Barrier())}, timeout=CAUGHT_UP_S_MAX)


def let_run(move: "asyncio.Future[None]") -> None:
    """Let a queued move run; a failure is the ledger's to retry and log, and must not warn as never retrieved."""
    move.add_done_callback(lambda done: done.cancelled() or done.exception())


def _check(record: UsageRecord) -> None:
    counts = (record.usage.input_total, record.usage.output_total)
    if any(abs(count) > RECORD_TOKENS_MAX for count in counts):
        raise InvalidRequest(f"a record has at most {RECORD_TOKENS_MAX:,} tokens")
    if any(abs(nanos or 0) > CALL_NANOS_MAX for nanos in (record.cost_nanos, record.input_cost_nanos)):
        raise InvalidRequest("a record costs at most 1,000,000 USD")
    try:
        orjson.dumps((record.record_id, record.component, record.provider, record.model, record.task_type))
    except TypeError as error:
        raise InvalidRequest("a name holds text that is not Unicode") from error
