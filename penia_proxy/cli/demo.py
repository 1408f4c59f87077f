"""Y."""


def demo() -> None:
    """Y."""
