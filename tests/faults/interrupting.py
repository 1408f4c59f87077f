"""
Interrupt a call at each of its waits.

Its one job: the tasks that carry a call, counted wait by wait, and something that is done to one of them at a wait of a
test's choosing.
Rule: no hook in the product: the event loop makes a task, and every wait of it is something that the loop is handed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ANSWER = "Inbound._answer"
EXCHANGE = "Proxy._exchange"
"""Tasks by the names of what they run. The second is one of its own where answers are read on without their caller."""

Do = Callable[["asyncio.Task[Any]", "asyncio.Future[Any] | None"], None]
"""What is done to a task, which is about to wait for a future, or only for its next turn."""


def early(task: "asyncio.Task[Any]", _: object) -> None:
    """Cancel it as soon as it waits."""
    asyncio.get_running_loop().call_soon(task.cancel)


def late(task: "asyncio.Task[Any]", future: "asyncio.Future[Any] | None") -> None:
    """Cancel it when what it waits for has come, and it has not seen that yet."""
    if future is None:
        early(task, None)
    else:
        future.add_done_callback(lambda _: task.cancel())


def failing(error: Exception) -> Do:
    """Return what has the wait itself fail, where it is not for another task."""

    def fail(_: "asyncio.Task[Any]", future: "asyncio.Future[Any] | None") -> None:
        if future is not None and not isinstance(future, asyncio.Task):
            future.set_exception(error)

    return fail


class Waits:
    """The waits of one kind of task, and what is done at some of them."""

    def __init__(self, plan: dict[int, Do]) -> None:
        self.seen = 0
        self._plan = plan

    def of(self, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Return the work, watched."""

        async def watched() -> Any:
            return await _Watched(self, work)

        return watched()

    def next(self, future: "asyncio.Future[Any] | None") -> None:
        """Count a wait, and do what is planned at it."""
        self.seen += 1
        task = asyncio.current_task()
        if task is not None and (do := self._plan.get(self.seen)) is not None:
            do(task, future)


class _Watched:
    """A coroutine each wait of which is told before it begins."""

    def __init__(self, waits: Waits, work: Coroutine[Any, Any, Any]) -> None:
        self._waits = waits
        self._work = work

    def __await__(self) -> Generator[Any, Any, None]:
        send, said = self._work.send, None
        while True:
            try:
                future = send(said)
            except StopIteration as end:
                return end.value
            self._waits.next(future)
            try:
                send, said = self._work.send, (yield future)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the work's
                send, said = self._work.throw, error


@contextmanager
def interrupting(name: str, plan: dict[int, Do]) -> Iterator[Waits]:
    """Watch the tasks of a name; do what is planned at their first, second ... wait."""
    waits = Waits(plan)

    def made(loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> "asyncio.Task[Any]":
        if getattr(work, "__qualname__", "") == name:
            work = waits.of(work)
        return asyncio.Task(work, loop=loop, **named)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(made)
    try:
        yield waits
    finally:
        loop.set_task_factory(None)


@contextmanager
def watching(kind: type, method: str, plan: dict[int, Do]) -> Iterator[Waits]:
    """Watch the calls of a coroutine whose tasks somebody else makes, without asking the loop."""
    waits = Waits(plan)
    work = getattr(kind, method)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, method, lambda *told, **named: waits.of(work(*told, **named)))
        yield waits
