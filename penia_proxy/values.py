"""
Make values that are made at every call.

Its one job: a frozen dataclass whose ``__init__`` costs what an ordinary one's does.
Why: a frozen dataclass sets each field by ``object.__setattr__``, which takes three times as long as an assignment, and
a call makes some 250 fields of such values: a twentieth of what it cost. The type checker sees the class as frozen
still, so that nothing assigns to a value; it is not checked once more at run time.
"""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Give a class that ``@dataclass(frozen=True, slots=True)`` has made its ``__init__``; used as a decorator."""
    names: dict[str, Any] = {"MISSING": MISSING}
    parameters, lines = [], []
    for one in fields(cls):  # type: ignore[arg-type]  # a dataclass
        made = one.default_factory is not MISSING
        names[f"default_{one.name}"] = one.default_factory if made else one.default
        if not one.init:
            if made:
                lines.append(f"self.{one.name} = default_{one.name}()")
            elif one.default is not MISSING:
                lines.append(f"self.{one.name} = default_{one.name}")
            continue  # else `__post_init__` makes it
        if made:
            parameters.append(f"{one.name}=MISSING")
            lines.append(f"self.{one.name} = default_{one.name}() if {one.name} is MISSING else {one.name}")
        else:
            parameters.append(one.name if one.default is MISSING else f"{one.name}=default_{one.name}")
            lines.append(f"self.{one.name} = {one.name}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    text = f"def __init__(self, {', '.join(parameters)}):\n " + "\n ".join(lines)
    exec(text, names)  # noqa: S102 - as dataclasses does; the text is of field names, which are identifiers
    made_init = names["__init__"]
    made_init.__qualname__ = f"{cls.__qualname__}.__init__"
    made_init.__annotations__ = dict(cls.__init__.__annotations__)
    cls.__init__ = made_init  # type: ignore[method-assign]
    del cls.__setattr__, cls.__delattr__
    return cls
