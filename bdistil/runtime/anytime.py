"""An answer that gets better while it is waited for, and can be taken at any moment."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Generic, TypeVar

from bdistil.errors import SpecError
from bdistil.runtime.values import as_text

Done = TypeVar("Done")
LONGEST = 1e6  # seconds; what waits cannot wait for ever
_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}


def seconds(duration: float | str | timedelta, what: str = "a deadline") -> float:
    """A duration such as 0.005, ``"5ms"`` or a timedelta in seconds; `what` names it in errors.

    Raises:
        SpecError: if it cannot be read or is not positive.
    """
    if type(duration) is float and 0 < duration <= LONGEST:
        return duration  # at once
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    text = as_text(duration)
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(us|µs|ms|s|min)?\s*", text)
    try:
        number = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    except ValueError:
        number = 0.0
    if number <= 0:
        given = repr(text) if isinstance(duration, str) else text
        raise SpecError(f"{what} of {given} is no duration; write 0.005, '5ms' or '2s'.")
    return min(number, LONGEST)


class AnytimeRun(Generic[Done]):
    """Stages computed in a thread of their own; the last finished one is always at hand.

    Args:
        stages: yields what is done after each stage.
        latest: what is done already, if anything is.

    Example:
        >>> run = predictor.start(x)                              # doctest: +SKIP
        >>> coarse = predictor.finished(run.wait(timeout=0.001))  # doctest: +SKIP
        >>> better = predictor.finished(run.wait())               # doctest: +SKIP
    """

    def __init__(self, stages: Iterator[Done], latest: Done | None = None) -> None:
        self._stages = stages
        self._latest = latest
        self._error: BaseException | None = None
        self._stopped = False
        self._finished = False
        self._changed = threading.Condition()
        # No daemon: an interpreter that ends while a runtime computes in one is aborted.
        self._thread = threading.Thread(target=self._work, daemon=False)
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Compute no further stage; from any thread. Who waits gets the last finished stage.

        Args:
            wait: until the stage at hand is done, so that nothing computes any more.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def wait(self, timeout: float | None = None) -> Done:
        """The latest stage once all are done, the run is stopped or `timeout` seconds are over.

        The first stage is waited for in any case: there is always an answer.
        """
        deadline = None if timeout is None else time.perf_counter() + timeout
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None or self._error is not None)
            left = None if deadline is None else max(0.0, deadline - time.perf_counter())
            self._changed.wait_for(lambda: self._finished or self._stopped, left)
            if self._error is not None:
                raise self._error
            assert self._latest is not None
            return self._latest

    def _work(self) -> None:
        try:
            for done in self._stages:
                with self._changed:
                    self._latest = done
                    self._changed.notify_all()
                    if self._stopped or not threading.main_thread().is_alive():
                        return  # in the latter case the interpreter waits for this thread
        except BaseException as error:  # handed to whoever waits
            self._error = error
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()
