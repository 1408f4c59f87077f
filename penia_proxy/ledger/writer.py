"""
Write, in one thread, whatever waits.

Its one job: the queue between the event loop and the one connection that writes, and group commit: what arrived while
the last commit ran is the next transaction, one hop to the thread and one back for all of it.
Rules: nobody who waits is made to wait for a batch; what nobody waits for (a settlement) is kept until it has
company, so that the next call need not wait for its disk write. A quiet time is used to tidy up. Nothing queued is ever
cancelled. A move that is refused fails alone. When the database fails, the batch is rolled back: moves that may fail
do, lasting ones are tried again until they are on disk.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from penia_proxy.clock import Clock
from penia_proxy.errors import InvariantError, PeniaError, StoreUnavailable
from penia_proxy.ledger import tidying
from penia_proxy.ledger.archiving import Archiving
from penia_proxy.ledger.moves import Barrier, Hurry, Move, Release, Reserve
from penia_proxy.ledger.transaction import Known, Transaction

log = logging.getLogger(__name__)

BATCH_MAX = 1000
QUEUE_MAX = 10_000
"""Moves that wait before new holds are refused; settlements are never refused, and there is at most one per hold."""
COMPANY_MAX = 64
COMPANY_S = 0.01
PASSED_OVER_MAX = 8
"""
What nobody waits for is written when so many moves are there, when no other has come for so long, or when holds have
overtaken it so often. A transaction costs by the pages it touches, and a settlement touches twenty, which it shares
with its neighbours; until it is written, a crash books the call at what it held.
"""
GATHER_S = 0.001
"""How long a busy loop may go on to add to what is handed over."""
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 1.0
STOP_ATTEMPTS_MAX = 5
"""How often a failing database is tried again once the writer was told to stop."""

_OWN_FAULTS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
)
"""A statement's fault. Every other sqlite3.Error (full, busy, I/O, corrupt, read-only) is the database's."""


class Ticket(NamedTuple):
    """A move in the queue, and who waits for it."""

    move: Move
    done: "asyncio.Future[Any] | None"


class Outcome(NamedTuple):
    """How a move ended."""

    ticket: Ticket
    value: object
    error: Exception | None


class Writer:
    """The queue, and the thread behind it. All public members belong to the event loop."""

    def __init__(self, connection: sqlite3.Connection, known: Known, clock: Clock, archiving: Archiving) -> None:
        self._connection = connection
        self._clock = clock
        self._archiving = archiving
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._gathered: list[Ticket] = []
        """What was asked for since the loop was last without new moves."""
        self._gather_until = 0.0
        self._queue: SimpleQueue[list[Ticket]] = SimpleQueue()
        self._keeping: list[Ticket] = []
        """The thread's: what nobody waits for."""
        self._passed_over = 0
        self._tidy_from = 0.0
        """By the monotonic clock: not before then again."""
        self._stopping = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="penia-ledger", daemon=True)
        self.healthy = True
        """Whether the last write succeeded."""
        self.depth = 0
        """Moves that are not durable yet."""
        self.commits = 0
        self._thread.start()

    @property
    def holds_open(self) -> int:
        return len(self._known.holds)

    def submit(self, move: Move) -> "asyncio.Future[Any]":
        """Queue a move, in this step; the future ends when it is durable or failed. Cancelling it changes nothing."""
        done: asyncio.Future[Any] = self._loop.create_future()
        if self.depth >= QUEUE_MAX and not move.lasting:
            done.set_exception(StoreUnavailable("the ledger is behind: too many writes are waiting"))
            return done
        if self._ended:
            done.set_exception(StoreUnavailable("the ledger is closed"))
            return done
        if not self._gathered:
            self._gather_until = self._loop.time() + GATHER_S
            self._loop.call_soon(self._gather, 1)
        self._gathered.append(Ticket(move, done))
        self.depth += 1
        return done

    async def stop(self) -> None:
        """Write what is queued, then end the thread and close the connection."""
        self._hand_over()
        self._stopping.set()
        self._queue.put([])  # the thread may be waiting for a move
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # its last answers are on their way

    def _gather(self, known: int) -> None:
        """
        Hand over what there is once a step of the loop has brought nothing more.

        Waking the thread for the first of many moves would make it a transaction of its own; a loop with nothing else
        to do gets here at once.
        """
        if known < len(self._gathered) and self._loop.time() < self._gather_until:
            self._loop.call_soon(self._gather, len(self._gathered))
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _run(self) -> None:
        kept: list[Ticket] = []
        attempts = 0
        try:
            while not (self._stopping.is_set() and self._queue.empty() and not kept and not self._keeping):
                kept = self._write([*kept, *self._next(wait=not kept)])
                attempts = attempts + 1 if kept else 0
                if self._stopping.is_set() and attempts >= STOP_ATTEMPTS_MAX:
                    break
                if kept:
                    self._stopping.wait(min(BACKOFF_S_MIN * 2 ** min(attempts - 1, 10), BACKOFF_S_MAX))
        finally:
            self._end(kept)

    def _next(self, *, wait: bool) -> list[Ticket]:
        """Return what is to be the next transaction, in the order it was asked for but for what may be overtaken."""
        while True:
            arrived = self._arrived(wait=wait)
            hurried = [ticket for ticket in arrived if ticket.move.hurry is Hurry.NEXT]
            in_turn = any(ticket.move.hurry is Hurry.IN_TURN for ticket in arrived)
            waiting = len(self._keeping) + len(arrived) - len(hurried)
            is_company = waiting >= COMPANY_MAX or self._passed_over == PASSED_OVER_MAX or not arrived
            if not wait or in_turn or is_company or self._stopping.is_set():
                everything = [*self._keeping, *arrived]
                self._keeping.clear()
                self._passed_over = 0
                return everything
            self._keeping += [ticket for ticket in arrived if ticket.move.hurry is Hurry.NONE]
            if hurried:
                self._passed_over += bool(self._keeping)
                return hurried

    def _arrived(self, *, wait: bool) -> list[Ticket]:
        """Take what is queued; where nothing is, wait for it, but not for long if anything is being kept."""
        arrived: list[Ticket] = []
        try:
            if wait:
                arrived += self._queue.get(timeout=COMPANY_S) if self._keeping else self._awaited()
            while len(arrived) < BATCH_MAX:
                arrived += self._queue.get_nowait()
        except Empty:
            pass
        return arrived

    def _awaited(self) -> list[Ticket]:
        """Wait for what is queued next; where nothing is for long, tidy up. Raises Empty after that."""
        try:
            return self._queue.get(timeout=max(tidying.IDLE_S, self._tidy_from - self._clock.monotonic()))
        except Empty:
            months = self._archiving.quietly(self._connection)
            if tidying.tidy(self._connection, lambda: not self._queue.empty(), months):
                self._tidy_from = self._clock.monotonic() + tidying.EVERY_S
            raise

    def _end(self, kept: Sequence[Ticket]) -> None:
        left = [*kept, *self._keeping, *self._arrived(wait=False)]
        lost = sum(ticket.done is not None for ticket in left)
        if lost:
            log.error("the ledger ended with %d moves unwritten; open holds are charged at the next start", lost)
        error = StoreUnavailable("the ledger is closed")
        self._tell([Outcome(ticket, None, error) for ticket in left], healthy=False)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody queues any more
            self._loop.call_soon_threadsafe(self._close)
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as failure:
            log.warning("the ledger's log could not be folded into its file: %s", failure)
        self._connection.close()

    def _close(self) -> None:
        """Refuse what is queued from now on, and what came while the thread ended."""
        self._ended = True
        error = StoreUnavailable("the ledger is closed")
        self._hand_over()
        self._deliver([Outcome(ticket, None, error) for ticket in self._arrived(wait=False)])

    def _write(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Commit a batch; return what must be tried again."""
        if not tickets:
            return []
        outcomes: list[Outcome] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if not self.healthy:  # a commit that failed may have landed all the same
                self._known = Known.read(self._connection, self._known.files)
            transaction = Transaction(self._connection, self._known)
            outcomes.extend(self._apply(ticket, transaction) for ticket in tickets)
            transaction.commit()
            self.commits += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the batch is rolled back and everybody is told
            self._roll_back()
            if isinstance(error, sqlite3.Error) and not isinstance(error, _OWN_FAULTS):
                return self._refuse(tickets, outcomes, error)
            if len(tickets) > 1:
                return self._one_by_one(tickets)
            outcomes = [self._fault(tickets[0], error)]
        self._tell(outcomes, healthy=True)
        return []

    def _apply(self, ticket: Ticket, transaction: Transaction) -> Outcome:
        try:
            return Outcome(ticket, ticket.move.apply(transaction), None)
        except PeniaError as refusal:
            return Outcome(ticket, None, refusal)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - a value that cannot be written; it has gathered nothing
            return self._fault(ticket, error)

    def _fault(self, ticket: Ticket, error: Exception) -> Outcome:
        # Only the kinds are named: a message could quote what was to be written.
        kind, problem = type(ticket.move).__name__, type(error).__name__
        log.error("the ledger cannot write a %s (%s)", kind, problem)
        return Outcome(ticket, None, InvariantError(f"the ledger cannot write this {kind.lower()}: {problem}"))

    def _one_by_one(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Find the move that spoils a batch, by giving each a transaction of its own."""
        for index, ticket in enumerate(tickets):
            kept = self._write([ticket])
            if kept:
                return kept + self._refuse(tickets[index + 1 :], [], None)
        return []

    def _refuse(
        self, tickets: Sequence[Ticket], outcomes: Sequence[Outcome], error: sqlite3.Error | None
    ) -> list[Ticket]:
        """Fail the moves that may fail. Keep the rest, and release each hold that a failed commit may have left."""
        if self.healthy and error is not None:
            log.error("the ledger cannot write: %s (%s)", error, getattr(error, "sqlite_errorname", "unknown"))
        refusal = StoreUnavailable("the ledger cannot write")
        refused = [Outcome(ticket, None, refusal) for ticket in tickets if not ticket.move.lasting]
        self._tell(refused, healthy=False)
        kept = [ticket for ticket in tickets if ticket.move.lasting]
        kept.extend(
            Ticket(Release(outcome.ticket.move.hold.hold_id), None)
            for outcome in outcomes
            if isinstance(outcome.ticket.move, Reserve) and outcome.error is None
        )
        return kept or [Ticket(Barrier(), None)]  # so that recovery is noticed without a call

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            log.exception("the ledger cannot roll back")

    def _tell(self, outcomes: Sequence[Outcome], *, healthy: bool) -> None:
        self.healthy = healthy
        try:
            self._loop.call_soon_threadsafe(self._deliver, outcomes)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            log.debug("nobody waits for the ledger any more")

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        for (move, done), value, error in outcomes:
            if done is None:
                continue
            self.depth -= 1
            if done.done():  # whoever waited was cancelled
                if isinstance(move, Reserve) and error is None:
                    self.submit(Release(move.hold.hold_id))  # what nobody has now; a refused id may be another call's
                continue
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)
