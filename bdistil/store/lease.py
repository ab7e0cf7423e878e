"""A lease on a place where files cannot be locked, kept by a heartbeat."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
import warnings
from typing import Protocol

from bdistil.errors import BdistilWarning, CheckpointError

LEASE = ".lease"
BEAT_SECONDS = 10.0
PATIENCE = 3  # heartbeats without which a lease is void


class Place(Protocol):
    """Where the lease lies; a :class:`~bdistil.store.remote.Remote`."""

    uri: str

    def read(self, name: str) -> bytes | None:
        """A small file; None if it is not there."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""


class Lease:
    """A file that is written again and again; who finds it unchanged for long may take it.

    No clocks are compared. Two who start within the same second are told apart by reading back.

    Raises:
        CheckpointError: if another process holds the URI.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.owner = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        self.beats = 0
        self.released = threading.Event()
        self.wait_for_other()
        self.write()
        time.sleep(BEAT_SECONDS / 10)
        self.check()
        self.thread = threading.Thread(target=self.keep, daemon=True)
        self.thread.start()

    def wait_for_other(self) -> None:
        """Give another search the time to show that it is alive."""
        found = self.place.read(LEASE)
        if found is None:
            return
        warnings.warn(
            f"a search has left a lease in {self.place.uri}; waiting {PATIENCE * BEAT_SECONDS:g} "
            f"s for a sign that it runs.",
            BdistilWarning,
            stacklevel=2,
        )
        time.sleep(PATIENCE * BEAT_SECONDS)
        if self.place.read(LEASE) not in (None, found):
            self.refuse(found)

    def check(self) -> None:
        """Make sure that the lease is ours.

        Raises:
            CheckpointError: if it is not.
        """
        content = self.place.read(LEASE)
        if content is None or not content.decode().startswith(self.owner):
            self.refuse(content)

    def refuse(self, content: bytes | None) -> None:
        """Say who holds the URI."""
        host = (content or b"?").decode().partition(" ")[0]
        raise CheckpointError(
            f"another search is running in {self.place.uri} (on {host}); wait for it or choose "
            f"another --out."
        )

    def keep(self) -> None:
        """Write the lease until it is released or taken."""
        while not self.released.wait(BEAT_SECONDS):
            with contextlib.suppress(CheckpointError):  # the next `send` will tell
                self.check()
                self.write()

    def write(self) -> None:
        """One heartbeat."""
        self.beats += 1
        self.place.write(LEASE, f"{self.owner} {self.beats}".encode())

    def release(self) -> None:
        """Let others in."""
        self.released.set()
        self.thread.join()
        with contextlib.suppress(CheckpointError):
            self.check()
            self.place.delete(LEASE)
