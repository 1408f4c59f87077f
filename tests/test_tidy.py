"""
Check what neither linter nor types can: the habits of this code base.

Its one job: properties of the files themselves. Rule: each finding names file and line, so that it can be mended.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "penia_proxy"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations/versions" not in path.as_posix())
MIGRATIONS = sorted(PACKAGE.glob("ledger/migrations/versions/*.py"))

SCRIPTS = sorted(PACKAGE.glob("web/**/*.js"))
WEB = sorted(path for path in PACKAGE.glob("web/**/*") if path.is_file())

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "shared"}
"""A name that could hold anything will."""
PART_OF = {"multidict": "aiohttp", "yarl": "aiohttp", "pydantic_core": "pydantic"}
"""Types of another's public interface, whose version it chooses."""
MARKER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|pragma: no cover")
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|srcdoc|document\.write|eval\("
)
"""What would read a caller's name as markup or as code."""
# Spelled in pieces, so that this file passes its own check.
MACHINE = re.compile("/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "Us" + "ers", "ho" + "me/[a-z]"]) + ")/")


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _place(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def _parsed(paths: list[Path]) -> Iterator[tuple[Path, ast.Module]]:
    return ((path, ast.parse(path.read_text())) for path in paths)


def test_modules_are_about_one_thing() -> None:
    """No module of the package is longer than 400 lines."""
    long = [_place(path) for path in MODULES + SCRIPTS if len(path.read_text().splitlines()) > MODULE_LINES_MAX]

    assert not long


def test_functions_are_about_one_thing() -> None:
    """No function of the package is longer than 50 lines."""
    long = [
        f"{_place(path, function.lineno)} {function.name}"
        for path, tree in _parsed(MODULES)
        for function in _functions(tree)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert not long


def test_each_module_says_its_job() -> None:
    """Every module of the package and of the tests opens with a docstring."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    silent = [_place(path) for path, tree in _parsed(MODULES + MIGRATIONS + tests) if not ast.get_docstring(tree)]

    assert not silent


def test_each_script_says_its_job() -> None:
    """Every script of the dashboard opens with a comment that says its one job."""
    silent = [
        _place(path)
        for path in SCRIPTS
        if not re.match(r"(/\*\*|// )", path.read_text()) or "Its one job" not in path.read_text()[:1500]
    ]

    assert not silent


def test_names_never_become_markup() -> None:
    """No script of the dashboard parses HTML or runs text."""
    found = [
        f"{_place(path, number)} {hit[0]}"
        for path in SCRIPTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (hit := MARKUP.search(line))
    ]

    assert not found


def test_the_dashboard_names_no_other_place() -> None:
    """No file of the dashboard has an address, but for the name of SVG; and none has a style or a handler in markup."""
    text = {path: path.read_text().replace("http://www.w3.org/2000/svg", "") for path in WEB}
    found = [
        _place(path) for path, said in text.items() if re.search(r"https?://|@import|style=|<style| on[a-z]+=\"", said)
    ]

    assert not found


def test_each_test_says_what_is_true() -> None:
    """Every test has a docstring of one sentence or more."""
    silent = [
        f"{_place(path, function.lineno)} {function.name}"
        for path, tree in _parsed(sorted((ROOT / "tests").rglob("test_*.py")))
        for function in _functions(tree)
        if function.name.startswith("test_") and not (ast.get_docstring(function) or "").endswith((".", "!", "?"))
    ]

    assert not silent


def test_names_say_what_is_inside() -> None:
    """No module or package has a name that could hold anything."""
    vague = [_place(path) for path in PACKAGE.rglob("*") if path.stem in BANNED_NAMES and "__" not in path.name]

    assert not vague


def test_no_control_flow_in_assertions() -> None:
    """The package has no assert, which python -O would take out."""
    asserts = [
        _place(path, node.lineno)
        for path, tree in _parsed(MODULES + MIGRATIONS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]

    assert not asserts


def test_annotations_are_evaluated() -> None:
    """No module postpones its annotations: typer and pydantic read them as they are."""
    postponed = [
        _place(path, node.lineno)
        for path, tree in _parsed(MODULES)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]

    assert not postponed


def test_nothing_is_left_for_later() -> None:
    """The package has no markers of unfinished work."""
    marked = [
        f"{_place(path, number)} {line.strip()}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MARKER.search(line)
    ]

    assert not marked


def test_each_import_is_declared() -> None:
    """What the package imports from others is declared in pyproject.toml: for running, or in an extra for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [entries for name, entries in project["optional-dependencies"].items() if name != "dev"]
    entries = sum(extras, start=project["dependencies"])
    declared = {_normal(re.split(r"[\[<>=!;~ ]", entry)[0]) for entry in entries}
    owners = {**packages_distributions(), **{name: [owner] for name, owner in PART_OF.items()}}
    undeclared = {
        f"{_place(path)} {name}"
        for path, tree in _parsed(MODULES + MIGRATIONS)
        for name in _imported(tree)
        if name in owners and name != "penia_proxy" and not declared & {_normal(owner) for owner in owners[name]}
    }

    assert not undeclared


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_no_path_of_one_machine() -> None:
    """No tracked text file names a path that exists on one developer's machine only."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    found = []
    for path in (ROOT / name for name in listed):
        if not path.is_file() or path.stat().st_size > 1_000_000:
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{_place(path, number)} {hit[0]}" for number, line in enumerate(lines, 1) if (hit := MACHINE.search(line))
        ]

    assert not found
