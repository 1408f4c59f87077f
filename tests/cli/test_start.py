"""
Test how commands start: help, versions, exit codes, what is refused before anything runs.

Its one job: the command line's frame, in processes of its own where the process is what is tested.
"""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penia_proxy import __version__
from tests.cli.conftest import Outcome

Run = Callable[..., Awaitable[Outcome]]


def _python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, check=False, timeout=50
    )


def test_help_lists_commands_and_exit_codes(tmp_path: Path) -> None:
    """`python -m penia_proxy --help` lists every command and what the exit codes mean."""
    done = _python("-m", "penia_proxy", "--help", cwd=tmp_path)

    assert done.returncode == 0
    for command in ("serve", "demo", "check", "verify", "replay", "status", "usage", "budgets"):
        assert f"│ {command} " in done.stdout
    assert "Exit codes: 0 done" in done.stdout


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """The command line itself loads neither server nor database nor prices nor tokenizer."""
    program = (
        "import sys, penia_proxy.cli; heavy = {'aiohttp', 'sqlalchemy', 'pydantic', 'genai_prices', 'tiktoken'};"
        "print(sorted(heavy & set(sys.modules)))"
    )

    assert _python("-c", program, cwd=tmp_path).stdout == "[]\n"


async def test_version(run: Run) -> None:
    """--version prints the package's version."""
    outcome = await run("--version")

    assert (outcome.code, outcome.out) == (0, f"penia {__version__}\n")


@pytest.mark.parametrize("arguments", [("fly",), ("status", "--fast"), ("usage", "--by", "colour")])
async def test_wrong_options(run: Run, arguments: tuple[str, ...]) -> None:
    """An unknown command, option or choice exits with 2."""
    assert (await run(*arguments)).code == 2


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_refuses_to_run_without_asserts(tmp_path: Path, command: str) -> None:
    """Under python -O the gateway does not start."""
    done = _python("-O", "-m", "penia_proxy", command, cwd=tmp_path)

    assert done.returncode == 2
    assert "python -O" in done.stderr


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_refuses_to_run_without_the_parser_in_c(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With aiohttp's fallback, which reads requests less strictly, the gateway does not start."""
    monkeypatch.setenv("AIOHTTP_NO_EXTENSIONS", "1")

    done = _python("-m", "penia_proxy", command, cwd=tmp_path)

    assert done.returncode == 2
    assert "AIOHTTP_NO_EXTENSIONS" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "check", "verify"])
async def test_a_wrong_configuration(run: Run, tmp_path: Path, command: str) -> None:
    """A configuration that cannot be used is explained with file and line on stderr: exit code 2."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("server:\n  prot: 9000\n")

    outcome = await run(command, "-c", str(wrong))

    assert outcome.code == 2
    assert "wrong.yaml:2" in outcome.err
    assert "port" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("command", ["serve", "check", "verify"])
async def test_a_missing_configuration(run: Run, tmp_path: Path, command: str) -> None:
    """A file that was named and is not there is an error, never the defaults."""
    outcome = await run(command, "-c", str(tmp_path / "none.yaml"))

    assert outcome.code == 2
    assert "none.yaml" in outcome.err


async def test_check_sums_up(run: Run, tmp_path: Path) -> None:
    """A good configuration is summed up: address, ledger, prices, providers, budgets."""
    good = tmp_path / "good.yaml"
    good.write_text(
        "server: {port: 9000}\n"
        "providers: {openai: {base_url: 'https://api.openai.com', format: openai, api_key: sk-secret}}\n"
        "budgets: [{name: Agents, daily_limit: 5, enforcement: block, overrun: never, scope: {components: ['a-*']}}]\n"
    )

    outcome = await run("check", "-c", str(good))

    assert outcome.code == 0, outcome.err
    assert "127.0.0.1:9000" in outcome.out
    assert "genai-prices" in outcome.out
    assert "openai: openai, https://api.openai.com, key configured" in outcome.out
    assert "Agents: $5.00 daily; block, never; covers a-*" in outcome.out
    assert outcome.out.endswith("The configuration is good.\n")
    assert "sk-secret" not in outcome.out + outcome.err


async def test_check_warns_of_what_starts_but_is_hardly_meant(run: Run, tmp_path: Path) -> None:
    """No budgets, and a provider without prices, are good configurations that get a warning."""
    odd = tmp_path / "odd.yaml"
    odd.write_text("providers: {mine: {base_url: 'http://127.0.0.1:1', format: openai}}\nbudgets: []\n")

    outcome = await run("check", "-c", str(odd))

    assert outcome.code == 0, outcome.err
    assert "no budget is configured" in outcome.out
    assert "no price is known for mine" in outcome.out


@pytest.mark.fault("R2")
async def test_check_reads_the_price_overrides(run: Run, tmp_path: Path) -> None:
    """A broken price override stops the check as it would stop the start."""
    (tmp_path / "pricing").mkdir()
    (tmp_path / "pricing" / "openai.yaml").write_text("nonsense: true\n")
    named = tmp_path / "config.yaml"
    named.write_text(f"pricing: {{directory: {tmp_path / 'pricing'}}}\n")

    outcome = await run("check", "-c", str(named))

    assert outcome.code == 2
    assert "openai.yaml" in outcome.err


BEDROCK = (
    "providers: {bedrock: {base_url: 'https://bedrock-runtime.us-east-1.amazonaws.com', format: bedrock, prices: aws,"
    " aws: {access_key_id: AKIAMADEUP, secret_access_key: hush}}}\n"
)


async def test_check_says_who_signs(run: Run, tmp_path: Path) -> None:
    """For which region, and without a word of the key."""
    signed = tmp_path / "signed.yaml"
    signed.write_text(BEDROCK)

    outcome = await run("check", "-c", str(signed))

    assert outcome.code == 0, outcome.err
    assert "signed by Penia for us-east-1" in outcome.out
    assert "hush" not in outcome.out + outcome.err


async def test_check_says_when_what_signs_is_not_installed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start would stop at it too: the remedy is a line to type."""
    monkeypatch.setitem(sys.modules, "botocore", None)
    signed = tmp_path / "signed.yaml"
    signed.write_text(BEDROCK)

    outcome = await run("check", "-c", str(signed))

    assert outcome.code == 2
    assert "providers.bedrock.aws" in outcome.err
    assert "pip install 'penia[bedrock]'" in outcome.err
