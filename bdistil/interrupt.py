"""Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. If that is within a callback
of a library that swallows exceptions (a destructor, a weak reference, C code), it is gone. So the
signal is remembered too, and long work asks for it now and then.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # the latter is how Slurm and Kubernetes end a job

_pending = threading.Event()


@contextmanager
def remembered() -> Iterator[None]:
    """Within the body, SIGINT and SIGTERM raise KeyboardInterrupt, at once and when asked for."""
    _pending.clear()
    before = {number: signal.signal(number, _remember) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _pending.clear()


def check() -> None:
    """Raise again what was swallowed.

    Raises:
        KeyboardInterrupt: if a signal has come since :func:`remembered` began.
    """
    if _pending.is_set():
        raise KeyboardInterrupt


def _remember(number: int, frame: object) -> None:
    _pending.set()
    raise KeyboardInterrupt
