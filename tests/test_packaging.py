"""
Test what is shipped: the container's files, the Makefile, the wheel's contents.

Its one job: what can be known about them without a container engine. Rule: the files are read as their tools read them.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from penia_proxy.config import load_config

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """Return the compose file's only service."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert list(services) == ["penia"]
    made: dict[str, Any] = services["penia"]
    return made


def _dockerfile() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_container_can_do_little(service: dict[str, Any]) -> None:
    """The service has a read-only root, no capabilities, no way to gain any, a plain user, and bounds."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert all(int(part) > 0 for part in service["user"].split(":"))
    assert service["pids_limit"]
    assert service["mem_limit"]
    assert all(entry.startswith("/tmp:") and "noexec" in entry for entry in service["tmpfs"])


def test_the_container_is_reachable_from_this_machine_only(service: dict[str, Any]) -> None:
    """The port is published on loopback, which is what lets the gateway listen on every address inside."""
    assert service["ports"] == ["127.0.0.1:8113:8113"]
    assert service["environment"]["PENIA_SERVER__ALLOW_OPEN"] == "true"


def test_the_containers_configuration_is_good(service: dict[str, Any]) -> None:
    """The image's environment and the compose file's, over config.yaml, make a configuration that starts."""
    image = dict(pair.split("=", 1) for name, rest in _dockerfile() if name == "ENV" for pair in rest.split())

    config = load_config(ROOT / "config.yaml", {**image, **service["environment"]})

    assert (config.server.host, config.server.port) == ("0.0.0.0", 8113)
    assert config.ledger.url == "sqlite:////data/penia.db"


def test_the_ledger_is_in_the_volume(service: dict[str, Any]) -> None:
    """What must survive the container is under /data, which is a named volume."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    assert service["volumes"] == ["ledger:/data"]
    assert "ledger" in compose["volumes"]
    assert ("VOLUME", "/data") in _dockerfile()


def test_calls_in_flight_may_settle(service: dict[str, Any]) -> None:
    """A stop waits longer than the gateway drains."""
    config = load_config(ROOT / "config.yaml", {})

    assert int(service["stop_grace_period"].removesuffix("s")) > config.server.drain_seconds


def test_the_image_runs_without_root_or_shell() -> None:
    """The last stage sets a numeric user, runs nothing while it is built, and starts programs without a shell."""
    steps = _dockerfile()
    last = steps[max(index for index, (name, _) in enumerate(steps) if name == "FROM") :]

    users = [value for name, value in last if name == "USER"]
    assert users
    assert all(int(part) > 0 for part in users[-1].split(":"))
    assert "RUN" not in [name for name, _ in last]
    started = [value for name, value in last if name in {"ENTRYPOINT", "CMD", "HEALTHCHECK"}]
    assert len(started) == 3
    assert all("[" in value for value in started)
    assert all('"-I"' in value for value in started if "python" in value)


def test_the_health_check_runs(tmp_path: Path) -> None:
    """The health check's program is valid Python, and fails where nothing answers."""
    check = next(value for name, value in _dockerfile() if name == "HEALTHCHECK")
    program = re.findall(r'"((?:[^"\\]|\\.)*)"', check)[-1].replace("8113/health", "9/health")

    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )

    assert done.returncode == 1
    assert "URLError" in done.stderr


def test_the_image_has_what_it_copies() -> None:
    """Every file that the Dockerfile copies from the project exists and is in the build context."""
    sources = [
        part
        for name, value in _dockerfile()
        if name == "COPY" and "--from" not in value
        for part in value.split()[:-1]
        if not part.startswith("--")
    ]
    context = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}

    assert sources
    assert all((ROOT / source).exists() for source in sources)
    assert {source.rstrip("/") for source in sources} == context


def test_what_the_project_promises_is_there() -> None:
    """The files that pyproject.toml names exist, and so does everything the wheel is told to include."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    forced = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert (ROOT / project["project"]["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in project["project"]["license-files"])
    assert all((ROOT / source).exists() for source in forced)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_what_python_it_needs(tmp_path: Path) -> None:
    """With a Python that is too old, or none, make names the remedy and leaves no half-made environment."""
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo Python 3.9.1; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    for python, said in ((str(old), "is Python 3.9.1"), ("python-missing", "there is no 'python-missing'")):
        done = subprocess.run(
            ["make", "-C", ROOT, "check", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 2
        assert said in done.stderr
        assert not (tmp_path / "venv").exists()
