"""
Say what the tables are.

Its one job: the ledger's tables, columns and indexes as SQLAlchemy Core, for statements and for comparison with what
the migrations build (a test holds the two equal).
Rules: documented names stay. Money is integer nano-dollars; ``cost REAL`` is generated from it. Instants are
`clock.iso` text, so that their order is the order of time. `usage_records`, `charges`, `grants`, `audit_log` and
`archived` are append-only, by triggers that the migrations create.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    JSON,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

REVISION = "0012"
"""The newest migration; a file that says another one is migrated, or refused as newer."""

APPEND_ONLY = ("usage_records", "charges", "grants", "audit_log", "archived")
"""Of the first two, what is in `archived` may be deleted: it is in the archive of its month."""

metadata = MetaData()

_Real: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
_Seq = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself in an INTEGER only

_FILTERS = ("component", "provider", "model", "task_type", "cost_basis")
_KEYED = text("once_key IS NOT NULL")
_CORRECTING = text("corrects IS NOT NULL")
_OPEN = text("resolved_at IS NULL")


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _measures() -> Iterator[Column[int]]:
    """Return what rollups sum, as `rows.MEASURES` names them."""
    names = ("record_count", "request_count", "input_tokens", "cache_read_tokens", "cache_write_tokens")
    return (_count(name) for name in (*names, "output_tokens", "reasoning_tokens", "cost_nanos", "unpriced_count"))


def _maybe(name: str, kind: TypeEngine[float] | TypeEngine[int]) -> Column[float] | Column[int]:
    return Column(name, kind, nullable=True)


budgets = Table(
    "budgets",
    metadata,
    Column("budget_id", Text, primary_key=True),
    _text("name"),
    _maybe("hourly_limit", _Real),
    _maybe("daily_limit", _Real),
    _maybe("weekly_limit", _Real),
    _maybe("monthly_limit", _Real),
    _maybe("total_limit", _Real),
    Column("spec", JSON, nullable=False),  # the source of truth; the limits beside it are for people
    Column("is_active", Boolean, nullable=False),
    _text("created_at"),
    _text("updated_at"),
)

usage_records = Table(
    "usage_records",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("record_id", Text, nullable=False, unique=True),
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), nullable=True),  # the most specific that applied
    _text("component"),
    _text("provider"),
    _text("model"),
    _text("task_type", null=True),
    _text("request_id", null=True),
    _count("input_tokens"),  # all input
    _count("cache_read_tokens"),
    _count("cache_write_tokens"),  # of both lifetimes
    _count("output_tokens"),  # all output
    _count("reasoning_tokens"),
    _count("total_tokens"),
    _maybe("input_cost_nanos", BigInteger()),
    _maybe("cost_nanos", BigInteger()),
    Column("cost", _Real, Computed("cost_nanos / 1000000000.0")),
    _text("cost_basis"),
    _text("pricing_version", null=True),
    _maybe("estimated_nanos", BigInteger()),
    Column("streamed", Boolean, nullable=False),
    _text("status"),
    _maybe("latency_ms", _Real),
    _maybe("ttft_ms", _Real),
    _text("timestamp"),
    Column("tags", JSON, nullable=False),
    Column("usage", JSON, nullable=False),  # the disjoint counts that are not zero
    _text("corrects", null=True),  # a record's id; no foreign key, as that may be in an archive
    _text("fingerprint", null=True),
    Column("metadata", JSON, nullable=False),
    _text("once_key", null=True),  # whose bill it is, by the provider's own name of the work
    _text("words", null=True),  # what the verdict was made of; see `budget.words`
    Index("usage_records_newest", "timestamp"),
    *(Index(f"usage_records_{name}", name, "timestamp") for name in _FILTERS),
    Index("usage_records_cost", "provider", "model", "cost_basis", "cost_nanos"),  # see `dearest`
    # Partial, so that the many without a key cost nothing.
    Index("usage_records_once", "once_key", unique=True, sqlite_where=_KEYED, postgresql_where=_KEYED),
    Index("usage_records_corrects", "corrects", sqlite_where=_CORRECTING, postgresql_where=_CORRECTING),
    sqlite_autoincrement=True,
)

charges = Table(
    "charges",
    metadata,
    Column("record_seq", _Seq, ForeignKey("usage_records.seq"), primary_key=True, autoincrement=False),
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), primary_key=True),
    _text("timestamp"),  # the record's, so that a budget's newest are found by one index
    _count("position"),  # 0 is the most specific
    Index("charges_newest", "budget_id", "timestamp"),
    sqlite_with_rowid=False,
)

holds = Table(
    "holds",
    metadata,
    Column("hold_id", Text, primary_key=True),
    _text("admitted_at"),
    _count("amount_nanos"),
    Column("budget_ids", JSON, nullable=False),
    _text("component"),
    _text("provider"),
    _text("model"),
    _text("task_type", null=True),
    Column("tags", JSON, nullable=False),
    Column("streamed", Boolean, nullable=False),
    _count("input_tokens_estimated"),
    _count("output_tokens_estimated"),
    _text("pricing_version", null=True),
    _text("once_key", null=True),  # set where the bill comes after the answer
    _text("fingerprint", null=True),  # set where the caller chose the id; see `Ledger.fingerprint`
    _text("words", null=True),  # as of `usage_records`
)

other_names = Table(
    "other_names",
    metadata,
    Column("name", Text, primary_key=True),  # made as a once-key is: of a file with results
    _text("once_key"),  # of the work whose results they are; its hold or its record may have it
    sqlite_with_rowid=False,
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    _text("value"),  # hex, drawn by the migration that made it; leaves the file for nothing
)

spend = Table(
    "spend",
    metadata,
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), primary_key=True),
    Column("period", Text, primary_key=True),
    Column("window_start", Text, primary_key=True),
    _count("spent_nanos"),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("request_count"),
    _count("unpriced_count"),
    sqlite_with_rowid=False,
)

budget_sets = Table(
    "budget_sets",  # which budgets were charged together; 0 has none, and is not here
    metadata,
    Column("set_id", BigInteger, primary_key=True, autoincrement=False),
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), primary_key=True),
    Index("budget_sets_of", "budget_id", "set_id"),
    sqlite_with_rowid=False,
)


def _names() -> Iterator[Column[str]]:
    """Return what sums are told apart by that a record says itself; a task type that it does not say is ''."""
    return (Column(name, Text, primary_key=True) for name in ("component", "provider", "model", "task_type"))


def _cell() -> Iterator[Column[Any]]:
    """Return the key of `rollups`."""
    yield Column("hour", Text, primary_key=True)
    yield from _names()
    yield Column("cost_basis", Text, primary_key=True)
    yield Column("set_id", BigInteger, primary_key=True, autoincrement=False)


def _of() -> Iterator[Column[str]]:
    """Return of which records a fold is: of what a budget was charged for, and of which basis; '' is any."""
    return (Column(name, Text, primary_key=True) for name in ("budget_id", "cost_basis"))


rollups = Table("rollups", metadata, *_cell(), *_measures(), sqlite_with_rowid=False)

folds = Table(
    "folds",  # the rollups of a year, a month, ten days and a day; as far as `folded_until` says
    metadata,
    *_of(),
    Column("span", Text, primary_key=True),  # as in `ledger.days`
    *_names(),
    *_measures(),
    sqlite_with_rowid=False,
)

folds_by_name = Table(
    "folds_by_name",  # the same by a name of one grouping, of hours, too: fewer where many go together
    metadata,
    *_of(),
    Column("grouping", Text, primary_key=True),
    Column("span", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    *_measures(),
    sqlite_with_rowid=False,
)

folded_until = Table(
    "folded_until",  # one row: the key of the last of `rollups` that is folded, in their order; at first before all
    metadata,
    *_cell(),
)

alerts = Table(
    "alerts",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("alert_id", Text, nullable=False, unique=True),
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), nullable=True),
    _text("alert_type"),
    _maybe("threshold_percent", _Real),
    _text("period", null=True),
    _text("severity"),
    _text("title"),
    _text("message"),
    Column("is_dismissed", Boolean, nullable=False),
    Column("acknowledged", Boolean, nullable=False),
    _text("created_at"),
    _text("resolved_at", null=True),
    _text("window_start", null=True),
    _text("window_end", null=True),
    Column("once_key", Text, nullable=False, unique=True),  # what happened: however often it is seen, it is one alert
    Column("details", JSON, nullable=False),
    Index("alerts_budget", "budget_id", "seq"),
    Index("alerts_open", "window_end", sqlite_where=_OPEN, postgresql_where=_OPEN),
    sqlite_autoincrement=True,
)

notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", Text, primary_key=True),  # the same at each attempt
    Column("alert_id", Text, ForeignKey("alerts.alert_id"), nullable=False),
    _text("channel"),
    _text("state"),  # pending, sent or dead
    _count("attempts"),
    _text("due_at"),
    _text("last_error", null=True),
    _text("created_at"),
    _text("sent_at", null=True),
    Index("notifications_due", "state", "due_at"),
    Index("notifications_alert", "alert_id"),
)

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("approval_id", Text, primary_key=True),
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), nullable=False),
    _text("period"),
    _text("window_start"),
    _text("window_end", null=True),
    _text("state"),  # pending, approved, denied, or lapsed before its window was over
    _text("asked_at"),
    _text("component"),  # this and what follows: of the first call that was refused
    _text("provider"),
    _text("model"),
    _text("request_id"),
    _count("amount_nanos"),  # the largest that was refused
    _count("refused_calls"),
    _text("last_refused_at"),
    _text("decided_at", null=True),
    _text("reason", null=True),  # of the decision
    Index("approvals_newest", "asked_at"),
    Index("approvals_state", "state", "asked_at"),
)

grants = Table(
    "grants",
    metadata,
    Column("grant_id", Text, primary_key=True),
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), nullable=False),
    _text("period"),
    _count("amount_nanos"),
    _text("reason"),
    _text("granted_at"),  # decides the window
    _text("expires_at", null=True),
    Column("approval_id", Text, ForeignKey("approvals.approval_id"), nullable=True),
    Index("grants_newest", "budget_id", "granted_at"),
)

refusals = Table(
    "refusals",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    _text("request_id"),
    _text("at"),
    _text("component"),
    _text("provider"),
    _text("model"),
    _text("code"),
    _text("message"),
    Column("budget_id", Text, ForeignKey("budgets.budget_id"), nullable=False),  # the one whose word decided
    _count("amount_nanos"),
    _text("words"),  # as of `usage_records`
    _text("approval_id", null=True),
    _count("not_kept"),  # refusals since the row before that were too many to keep
    *(Index(f"refusals_{name}", name, "seq") for name in ("request_id", "component", "budget_id", "code")),
    sqlite_autoincrement=True,
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("reconciliation_id", Text, primary_key=True),
    _text("created_at"),
    _text("provider"),
    _text("source"),  # whose report it is
    _text("first_day"),
    _text("last_day"),
    Column("is_whole", Boolean, nullable=False),
    _count("billed_nanos"),
    _count("captured_nanos"),
    Column("lines", JSON, nullable=False),
    Index("reconciliations_newest", "created_at"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    _text("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),  # the id of what was changed
    Column("details", JSON, nullable=False),
    sqlite_autoincrement=True,
)

archives = Table(
    "archives",  # the months whose records are in a file of their own, or are on their way to it
    metadata,
    Column("month", Text, primary_key=True),  # 2024-11, in UTC
    _text("archive_id"),  # the file says it, too, so that no other is taken for it
    _count("copy_until"),  # what is on its way: records up to this `seq`
    _count("until_seq"),  # what is moved: records up to this `seq` are there, and not here
    _count("records"),  # how many those are
    _count("cost_nanos"),  # what those add up to
    _text("first_at"),  # when its first record was, moved or not
    sqlite_with_rowid=False,
)

archived = Table(
    "archived",  # what is still known here of a record that was moved, so that nothing is booked twice
    metadata,
    Column("record_id", Text, primary_key=True),
    _text("month"),
    _text("fingerprint", null=True),
    _text("once_key", null=True),
    Index("archived_once", "once_key", unique=True, sqlite_where=_KEYED, postgresql_where=_KEYED),
    sqlite_with_rowid=False,
)
