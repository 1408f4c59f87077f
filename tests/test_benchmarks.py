"""The long measurements, kept short: that they still run, and still find nothing amiss."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


async def measured(*command: str) -> tuple[int, str, str]:
    """Run one; return its exit code, its table, and what it complains about."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        table, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # so that it ends what it has started
            await process.wait()
    assert process.returncode is not None
    return process.returncode, table.decode(), complaints.decode()


@pytest.mark.timeout(180)  # two gateways start; where others keep the machine busy, that takes its time
async def test_the_soak_and_the_crowd_run() -> None:
    """A soak of seconds loses nothing and holds nothing at its end, and a small crowd is held without errors."""
    soak, crowd = await asyncio.gather(
        measured("benchmarks.soak", "0.05"), measured("benchmarks.crowd", "20", "10", "1")
    )

    assert soak[0] == 0, soak[2]
    assert "| held at the end | 0 |" in soak[1]
    assert "| penia verify | clean |" in soak[1]
    assert crowd[0] == 0, crowd[2]
    assert "| and 10 streams |" in crowd[1]
    assert "Errors: 0." in crowd[1]


@pytest.mark.timeout(120)
async def test_live_clients_are_measured() -> None:
    """Sixty clients, of which some drop and come back, all know the last state; how fast is another question."""
    code, table, complaints = await measured("benchmarks.live", "60", "50", "4", "--lenient")

    assert code == 0, complaints
    assert "Errors: 0." in table
    assert "| clients, of which never read | 60, 10 |" in table


async def test_questions_are_measured_over_right_figures() -> None:
    """Every question is asked and answered, of a history whose counters are the sums of its records."""
    _, table, complaints = await measured("benchmarks.queries", "3000")

    assert "3,000 records, 0 differences" in table, complaints
    assert table.count("| met |") + table.count("| missed |") == 83
