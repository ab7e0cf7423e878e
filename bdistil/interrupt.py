"""Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. If that is within a callback
of a library that swallows exceptions (a destructor, a weak reference, C code), it is gone; if in an
import, another error may come of it. So the signal is remembered too, and long work asks for it
now and then.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = "Stopped."
STATUS = 130  # of a command that was interrupted

_pending = threading.Event()


def signals() -> list[signal.Signals]:
    """Those that interrupt: of Ctrl-C, of Slurm and Kubernetes, of a terminal that is closed.

    The last one not under ``nohup``, nor any in another thread, where Python takes no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    heeds_closing = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if heeds_closing else [])]


def end_at_once() -> None:
    """From now on an interrupt ends the process in a sentence; for while there is nothing to lose.

    That is so while modules are imported, which may swallow an exception or take it for a fault.
    """
    for number in signals():
        signal.signal(number, _end)


@contextmanager
def remembered() -> Iterator[None]:
    """Within the body, an interrupt raises KeyboardInterrupt, at once and when asked for.

    It also does so in place of whatever other error leaves the body after it.
    """
    _pending.clear()
    before = {number: signal.signal(number, _remember) for number in signals()}
    try:
        yield
    except Exception as error:
        if _pending.is_set():
            raise KeyboardInterrupt from error
        raise
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


def _remember(number: int, frame: FrameType | None) -> None:
    _pending.set()
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, f"{STOPPED}\n".encode())
    finally:
        os._exit(STATUS)
