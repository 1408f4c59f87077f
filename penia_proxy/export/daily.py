"""
Write a file a day.

Its one job: yesterday's records as a file of the configured directory, each day once.
Rules: a day is done when its file is there, so a restart knows what is missing, and what was missed while nothing ran
is caught up with, a month back at most. What goes wrong is in the log once, in `/health`, and tried again; no call
hears of it. A file is as of its writing: what is corrected later is in none, and one that is deleted is written anew.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from penia_proxy.clock import Clock
from penia_proxy.config import ExportConfig
from penia_proxy.errors import PeniaError
from penia_proxy.export.courtesy import calls_first
from penia_proxy.export.files import whole_file
from penia_proxy.export.formats import FORMATS, exported, format_of
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.queries import RecordFilter

CATCH_UP_DAYS = 31
LOOK_S = 20.0
"""How often it is looked whether a file is due; the wall clock may jump, so nobody sleeps until then."""

_log = logging.getLogger(__name__)


class DailyFiles:
    """What writes them."""

    def __init__(self, ledger: Ledger, ledger_url: str, clock: Clock, config: ExportConfig) -> None:
        """``config`` may be changed at any time."""
        self._ledger = ledger
        self._ledger_url = ledger_url
        self._clock = clock
        self.config = config
        self._looking = asyncio.Lock()
        self.error: str | None = None
        """Why the last attempt failed; None: it did not."""
        self.last_day: date | None = None
        """The newest day whose file this process has seen or written."""

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Write what is due."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        problem = None
        try:
            if self.config.directory is not None:
                await self._write_due(self.config, Path(self.config.directory))
        except OSError as error:
            problem = f"{self.config.directory}: {error.strerror or error}"  # the file it names is another each time
        except PeniaError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - the next look must happen; only the kind is safe to show
            problem = f"{type(error).__name__}: a defect"
        if problem is not None and problem != self.error:
            _log.error("the daily export failed, and is tried again: %s", problem)
        self.error = problem

    async def _write_due(self, config: ExportConfig, directory: Path) -> None:
        first = await self._ledger.queries.oldest()
        if first is None:
            return
        for day in due(config, first, self._clock.now()):
            path = directory / f"penia-usage_{day}{FORMATS[config.format].suffix}"
            if not await asyncio.to_thread(path.exists):
                await self._ledger.caught_up()
                with calls_first():
                    await asyncio.to_thread(_write, self._ledger_url, config, day, path)
                _log.info("%s is written", path)
            self.last_day = day


def due(config: ExportConfig, first: datetime, now: datetime) -> Iterator[date]:
    """Yield the days whose files should be there, oldest first; none before the ``first`` record."""
    zone = ZoneInfo(config.timezone)
    here = now.astimezone(zone)
    # Days and not hours: where clocks go forward at midnight, the hour may not exist.
    last = here.date() - timedelta(days=1 if here.time() >= time.fromisoformat(config.at) else 2)
    day = max(last - timedelta(days=CATCH_UP_DAYS - 1), first.astimezone(zone).date())
    while day <= last:
        yield day
        day += timedelta(days=1)


def _write(ledger_url: str, config: ExportConfig, day: date, path: Path) -> None:
    zone = ZoneInfo(config.timezone)
    start, end = (datetime.combine(one, time.min, zone).astimezone(UTC) for one in (day, day + timedelta(days=1)))
    asked = RecordFilter(start=start, end=end)
    with closing(exported(ledger_url, asked, format_of(config.format))) as chunks, whole_file(path) as file:
        for chunk in chunks:
            file.write(chunk)
