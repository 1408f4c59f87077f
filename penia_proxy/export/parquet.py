"""
Write records as Parquet.

Its one job: the columns of `table` in Arrow's types, in row groups, as bytes that can be sent while the next are made.
Rules: a row group is all that is kept; what the footer says of each is about 5 kB. Only `formats` imports this, when it
is asked for: pyarrow is an extra, and takes 60 MB.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet as pq

from penia_proxy.budget.record import UsageRecord
from penia_proxy.export.table import COLUMNS, Kind, Pages, nanos_of_record
from penia_proxy.watch.shapes import record_json

GROUP_ROWS = 20_000
GROUP_BYTES = 8 * 1024 * 1024
"""A group ends at whichever comes first."""

TYPES: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "usd": pa.decimal128(18, 9),  # a record costs at most a million USD
    "real": pa.float64(),
    "boolean": pa.bool_(),
    "instant": pa.timestamp("us", tz="UTC"),
    "json": pa.string(),
}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in COLUMNS.items()])


class _Taken:
    """A file that can only be written, and whose bytes are taken away."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._pieces.append(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Have nothing to push on."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """Return what was written since."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def encoded(pages: Pages) -> Iterator[bytes]:
    """Yield a Parquet file."""
    file = _Taken()
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        batches: list[pa.RecordBatch] = []
        for page in pages:
            batches.append(_batch(page))
            if sum(len(b) for b in batches) >= GROUP_ROWS or sum(b.nbytes for b in batches) >= GROUP_BYTES:
                yield _group(writer, batches, file)
        if batches:
            yield _group(writer, batches, file)
    yield file.take()


def _group(writer: pq.ParquetWriter, batches: list[pa.RecordBatch], file: _Taken) -> bytes:
    table = pa.Table.from_batches(batches)
    batches.clear()
    writer.write_table(table, row_group_size=len(table))
    return file.take()


def _batch(page: Sequence[UsageRecord]) -> pa.RecordBatch:
    rows = [{**record_json(record), **nanos_of_record(record), "timestamp": record.timestamp} for record in page]
    arrays = [pa.array([_value(kind, row[name]) for row in rows], type=TYPES[kind]) for name, kind in COLUMNS.items()]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _value(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind == "usd":
        return Decimal(value).scaleb(-9)
    return orjson.dumps(value).decode() if kind == "json" else value
