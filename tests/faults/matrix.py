"""
The fault matrix: what can go wrong around a gateway that handles money, and what must be true afterwards.

Its one job: the rows. Rule: a row is proven by the tests that carry its mark (``@pytest.mark.fault("K3")``), wherever
they are, or ``not_here`` says why nothing does; where both are there, it says which part nobody has tried.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the matrix."""

    name: str
    fault: str
    afterwards: str
    not_here: str = ""


_NO_SERVERS = "the ledger is one SQLite file and its counters are in memory: neither Redis nor PostgreSQL is built"

MATRIX = (
    Row("K0", "kill -9 before anything is held", "no record, nothing held"),
    Row("K1", "kill -9 when the hold is on disk and the provider accepts", "one `unconfirmed` record of what was held"),
    Row("K2", "kill -9 when the provider has the whole request", "the same"),
    Row("K3", "kill -9 in the middle of a stream", "the same"),
    Row("K4", "kill -9 after the last byte of an answer", "one record, of no less than the provider's bill"),
    Row("K5", "kill -9 as the live feed tells of the call", "one record, `reported`"),
    Row("K6", "kill -9 while a start books what a crash left open", "each open hold is one record, however often"),
    Row("K7", "kill -9 while a ledger is migrated", "the old schema or the new one, every record, never between"),
    Row("K8", "kill -9 at random under 40 concurrent calls", "no call without its record or below its bill; no drift"),
    Row("K9", "SIGTERM and SIGINT under calls", "what can end does, what cannot is `partial`; nothing held; exit 0"),
    Row(
        "K10",
        "kill -9 while months are archived",
        "each record in one place, which every question finds",
    ),
    Row("U1", "no such port, no such name, a certificate nobody vouches for", "502, no record, nothing held"),
    Row("U2", "a connection that never opens", "504 after `connect`, no record, nothing held"),
    Row("U3", "a provider that takes the call and says nothing", "504; `unconfirmed` at what was held"),
    Row("U4", "a stream that stalls", "cut visibly after `idle`; `partial`, counted"),
    Row(
        "U5", "a reset after every byte of a recorded answer", "cut or whole as it came; exact only if the bill passed"
    ),
    Row("U6", "400, 401, 404, 429, 500, 529 before any output", "passed on, no record, nothing held"),
    Row("U7", "200, then an error", "passed on; what passed before it is counted, the error's text is not"),
    Row(
        "U8",
        "usage missing, null, twice, in the middle, negative, 1e30, text",
        "exact if it can be believed, else counted",
    ),
    Row("U9", "garbage, bad UTF-8, NULs, a 50 MB line, CR, CRLF, BOM, any split", "the same bytes and the same usage"),
    Row(
        "U10",
        "every coding, unknown, double, broken, truncated, a bomb",
        "passed on; decoded within bounds, else counted",
    ),
    Row(
        "U11",
        "redirects, 1xx, 101, trailers, lengths and chunks that lie",
        "passed on as HTTP says, or 502; booked once",
    ),
    Row("U12", "an answer before the request was read", "passed on; booked once"),
    Row(
        "C1",
        "callers that leave: before, at every part of, and at the end of an answer",
        "billed for what was made, once",
    ),
    Row("C2", "callers that read a byte a second", "the provider waits, others do not; memory is flat; let go in time"),
    Row("C3", "headers and bodies that drip", "408 or closed in time; nothing held"),
    Row(
        "C4", "bodies too large, of a false length, endless, too deep, readable in two ways", "400 or 413; nothing held"
    ),
    Row(
        "C5",
        "requests and paths that parsers read differently",
        "400 or 404 and closed; nothing forwarded",
        "behind nginx and haproxy: they are not something that a test may expect to be installed",
    ),
    Row(
        "C6",
        "one request id a hundred times at once, later, with another body, after a kill",
        "one call, one bill; 409",
    ),
    Row(
        "C7", "ten thousand connections and one more; streams and live clients at once", "served, then 503; it adds up"
    ),
    Row(
        "W1",
        "a live client that reads nothing, under a million updates",
        "others hear all; memory flat; sent away, 1013",
    ),
    Row(
        "W2",
        "live clients of another origin, with huge, binary or endless messages",
        "403, 1009, 1008, or an answer; others hear all",
        "tickets, and subscribing to somebody else's budget: keys for Penia's own API are not built",
    ),
    Row(
        "D1",
        "a full disk, at a hold, a settlement, a checkpoint",
        "503 or as configured; all is written when there is room",
    ),
    Row(
        "D2",
        "writes that fail with an I/O error; commits that failed and had landed",
        "503; nothing counted twice or lost",
        "an fsync that fails: it needs a device of one's own; what SQLite then says is planted instead",
    ),
    Row("D3", "another program holds the ledger locked; a second gateway", "503 and on; the second does not start"),
    Row(
        "D4",
        "a ledger that is damaged, newer, read-only, or lacks its log",
        "no start, exit 2, untouched, says what to do",
    ),
    Row(
        "D5",
        "very many records",
        "pages, sums and counts come from indexes",
        "100 million: the largest that was measured has ten million (docs/benchmarks.md)",
    ),
    Row(
        "T1",
        "a wall clock that jumps, or stands still",
        "windows follow it, waits do not; records in order; it is told",
    ),
    Row(
        "T2",
        "midnight, month's and year's end, 29 February, clock changes, days that are not",
        "the window of admission",
    ),
    Row("T3", "a leap second, 2038, the year 9999", "as any other second; what has no window is refused"),
    Row(
        "R1",
        "reloads of good and bad files in a loop under load; budgets changed under calls",
        "all or nothing; it adds up",
    ),
    Row("R2", "prices that are missing, negative, absurd, contradictory", "no start, or the old prices stay"),
    Row("S1", "Redis down, slow, full, read-only", "", _NO_SERVERS),
    Row("S2", "Redis restarts empty, or fails over", "", _NO_SERVERS),
    Row("S3", "PostgreSQL down, or of unknown outcome", "", _NO_SERVERS),
    Row("S4", "two gateways, one of them cut off or paused", "", _NO_SERVERS),
    Row("X1", "texts that a tokenizer takes seconds or panics for", "served within the byte bound, and so are others"),
    Row(
        "X2",
        "a processor that somebody else uses",
        "slower, and it adds up",
        "too little memory: a limit on it is the container's, and the kernel then kills (K8)",
    ),
    Row("X3", "a receiver of alerts that hangs", "neither calls nor other receivers wait for it"),
    Row("X4", "stdout and stderr full, or closed", "served as ever"),
)

BY_NAME = {row.name: row for row in MATRIX}
