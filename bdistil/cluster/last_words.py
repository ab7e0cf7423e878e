"""One sentence where Ray ends this process without one.

Once the head of a cluster or this machine's own part of it is gone, Ray's core ends the driver's
process at its next call, with status 1 and no exception. Only another process can speak then: a
tiny one that waits at a pipe, whose other end closes with us. It is this file, run by itself.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

FAREWELL = b"."
SECONDS_TO_ANSWER = 2.0
KEPT = "accepted rounds are kept, and the same command goes on after the last one"


@contextlib.contextmanager
def last_words(address: str | None) -> Iterator[None]:
    """For the body, have somebody tell on the error stream if this process ends within it.

    Args:
        address: of the cluster as HOST:PORT; None for a Ray that ends with this process.
    """
    command = [sys.executable, "-I", "-S", __file__, address or ""]
    speaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert speaker.stdin is not None
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            speaker.stdin.write(FAREWELL)
            speaker.stdin.close()
        speaker.wait()


def sentence(address: str) -> str:
    """What to say of the end of a process that used the cluster at an address."""
    if address and not answers(address):
        return (
            f"the Ray cluster at {address} has gone, and Ray ended this command with it; {KEPT}, "
            f"on another cluster too (--address or RAY_ADDRESS)."
        )
    return (
        f"this command was ended from outside, often for want of memory, or by Ray, whose reasons "
        f"are in its logs, mostly in /tmp/ray/session_latest/logs; {KEPT}."
    )


def answers(address: str) -> bool:
    """Whether anything listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, ValueError):
        return False
    return True


if __name__ == "__main__" and sys.stdin.buffer.read(1) != FAREWELL:
    print(f"Error: {sentence(sys.argv[1])}", file=sys.stderr)
