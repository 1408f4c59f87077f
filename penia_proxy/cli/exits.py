"""
End a command.

Its one job: what each exit code means, and how a command says why it stops.
Rule: the same code means the same in every command; ``penia --help`` lists them.
"""

import typer

FAILED = 1
"""It was tried and did not work: no gateway answers, a refusal, the port is taken, differences found."""
UNUSABLE = 2
"""It could not be tried: a wrong option (click's own code for it, too) or configuration."""


def stop(message: str, code: int) -> SystemExit:
    """Say on stderr why the command stops; raise what this returns."""
    typer.secho(f"penia: {message}", err=True, fg=typer.colors.RED)
    return SystemExit(code)


def refuse_weakened() -> None:
    """
    Refuse to start where checks are missing: under ``python -O``, or without aiohttp's own parser.

    We keep no control flow in assertions, but the libraries under us may: reliability.md counts an aiohttp advisory
    that came from exactly that. The parser in Python, aiohttp's fallback, has let requests be read in two ways.
    """
    if not __debug__:
        raise stop("does not run under python -O: checks that libraries keep in assertions would be gone", UNUSABLE)
    from aiohttp.http_parser import HttpRequestParser

    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise stop(
            "aiohttp's parser in C is missing: unset AIOHTTP_NO_EXTENSIONS, or install aiohttp from a wheel", UNUSABLE
        )
