"""
Name the formats.

Its one job: what an export can be asked for as, and the bytes of one.
Rule: an export is a generator: it keeps a page, blocks, and ends when it is closed.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module

from penia_proxy.config import FormatName
from penia_proxy.errors import NotInstalled
from penia_proxy.export import focus, table
from penia_proxy.export.table import Pages
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.file import open_for_reading, path_of
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.walk import walk


@dataclass(frozen=True, slots=True)
class Format:
    """How records are written."""

    suffix: str
    media_type: str
    encode: Callable[[Pages], Iterator[bytes]]

    def file_name(self, asked: RecordFilter) -> str:
        """Return a name that says the stretch of time: ``penia-usage_2026-11-01_2026-11-23.csv``."""
        last = asked.end and asked.end - timedelta(microseconds=1)
        days = [f"{instant:%Y-%m-%d}" for instant in (asked.start, last) if instant is not None]
        return "_".join(["penia-usage", *days]) + self.suffix


def _parquet(pages: Pages) -> Iterator[bytes]:
    encoded: Iterator[bytes] = import_module("penia_proxy.export.parquet").encoded(pages)
    return encoded


FORMATS: Mapping[FormatName, Format] = {
    "csv": Format(".csv", "text/csv", table.separated),
    "jsonl": Format(".jsonl", "application/x-ndjson", table.lines),
    "parquet": Format(".parquet", "application/vnd.apache.parquet", _parquet),
    "focus": Format(".focus.csv", "text/csv", focus.encoded),
}


def format_of(name: FormatName) -> Format:
    """Return a format. Raises NotInstalled for one whose library is missing. Loads it: give it a thread."""
    if name == "parquet":
        try:
            import_module("penia_proxy.export.parquet")
        except ModuleNotFoundError as error:
            raise NotInstalled(
                "Parquet needs pyarrow: pip install 'penia[parquet]', or ask for csv or jsonl."
            ) from error
    return FORMATS[name]


def exported(url: str, asked: RecordFilter, written: Format) -> Generator[bytes, None, None]:
    """
    Yield the records of the ledger that a ``sqlite:///`` URL names.

    Raises ConfigError where it cannot be read, ArchiveUnavailable where a month cannot.
    """
    files = Files(path_of(url))
    with open_for_reading(url) as connection, closing(files), closing(walk(connection, files, asked)) as pages:
        yield from written.encode(pages)
