"""Fixtures of the tests of faults: a gateway of the tests over HTTP is one here, too."""

from tests.http.conftest import certificate, start  # noqa: F401
