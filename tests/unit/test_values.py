"""Values that are made at every call are made as `dataclasses` would make them."""

from dataclasses import dataclass, field, replace

import pytest

from penia_proxy.values import quick


def made(*, is_quick: bool) -> type:
    """Return the same class both ways."""

    @dataclass(frozen=True, slots=True)
    class Value:
        plain: int
        named: str = "x"
        listed: list[int] = field(default_factory=list)
        later: tuple[str, ...] = field(init=False)
        counted: int = field(init=False, default=7)
        seen: dict[str, int] = field(init=False, default_factory=dict, compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "later", (self.named,))

    return quick(Value) if is_quick else Value


@pytest.mark.parametrize("arguments", [{"plain": 1}, {"plain": 2, "named": "y"}, {"plain": 3, "listed": [1]}])
def test_a_quick_value_is_the_same_value(arguments: dict[str, object]) -> None:
    """It looks, compares and is replaced as one that `dataclasses` made."""
    quick_one, slow_one = made(is_quick=True)(**arguments), made(is_quick=False)(**arguments)

    assert repr(quick_one) == repr(slow_one)
    assert quick_one == replace(quick_one)
    assert replace(quick_one, plain=9) != quick_one
    assert repr(replace(quick_one, named="z")) == repr(replace(slow_one, named="z"))


def test_defaults_are_not_shared() -> None:
    """What a factory makes is made for each."""
    value = made(is_quick=True)
    one, other = value(1), value(1)

    one.listed.append(1)
    one.seen["a"] = 1

    assert (other.listed, other.seen) == ([], {})


def test_what_is_missing_is_missed() -> None:
    """By its name, as in any call."""
    with pytest.raises(TypeError, match="plain"):
        made(is_quick=True)()


def test_it_can_be_hashed() -> None:
    """A frozen value is a key."""

    @quick
    @dataclass(frozen=True, slots=True)
    class Key:
        name: str

    assert {Key("a"): 1}[Key("a")] == 1
