"""Ctrl-C and SIGTERM: deferred while a state is inconsistent, and passed on once it is saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM in a process that cleans up before it ends."""


class Request:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    @property
    def is_there(self) -> bool:
        """Whether the process was asked to end."""
        return self._signal is not None

    def note(self, number: int, _: FrameType | None) -> None:
        """The handler; a second signal acts at once."""
        if self.is_there:
            self.give_on()
        self._signal = number

    def give_on(self) -> None:
        """Do what the signal would have done; nothing if there was none."""
        if self._signal is None:
            return
        self.restore()
        os.kill(os.getpid(), self._signal)

    def install(self) -> None:
        """Replace the handlers."""
        self._handlers = {number: signal.signal(number, self.note) for number in SIGNALS}

    def restore(self) -> None:
        """Put the handlers back."""
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers = {}


@contextmanager
def deferred(wanted: bool = True) -> Iterator[Request]:
    """Signals are noted and passed on at a safe moment; not in threads, which receive none."""
    request = Request()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield request
        return
    request.install()
    try:
        yield request
    finally:
        request.restore()
    request.give_on()  # it came after the last safe moment


@contextmanager
def termination() -> Iterator[None]:
    """SIGTERM raises `Terminated` instead of ending the process at once."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
