"""What an export needs: not more for many records than for few, in a gateway process."""

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from benchmarks.history import fill
from tests.processes import configure, listening, running

FEW, MANY = 2_000, 200_000
MARGIN_KB = 48_000
"""A list of all would be some 500 MB; a row group of Parquet, buffers and the allocator's habits are far below this."""


def peak_kb(pid: int) -> int:
    """Return the most memory that a process ever had."""
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found)


@pytest.mark.timeout(240)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize("written", ["csv", "parquet"])
async def test_memory_does_not_grow_with_the_file(tmp_path: Path, written: str) -> None:
    """A gateway that exported a hundred times as many records had about as much memory at its peak."""
    peaks: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for records in (FEW, MANY):
        folder = tmp_path / str(records)
        folder.mkdir()
        await asyncio.to_thread(fill, folder / "penia.db", records)
        configure(folder, "http://127.0.0.1:9")
        async with running(folder, "serve") as process, aiohttp.ClientSession() as session:
            url = await listening(process)
            query = f"{url}/api/v1/usage/export?format={written}"
            async with session.get(query, timeout=aiohttp.ClientTimeout(total=200)) as answer:
                assert answer.status == 200
                sizes[records] = sum([len(chunk) async for chunk in answer.content.iter_any()])
            peaks[records] = peak_kb(process.pid)

    assert sizes[MANY] > 20 * sizes[FEW]
    assert peaks[MANY] < peaks[FEW] + MARGIN_KB
