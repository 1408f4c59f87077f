"""
Say that a request is answered with an error.

Its one job: the exception that every module may raise; which shape the error has is its provider's business.
"""


class Refused(Exception):
    """The request is answered with an error, in the provider's shape; which shape is not known here."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
