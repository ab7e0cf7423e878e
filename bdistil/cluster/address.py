"""Whether a Ray cluster answers at an address, told at once: Ray itself would try for minutes."""

from __future__ import annotations

import os
import socket

from ray._private.services import resolve_ip_for_localhost

from bdistil.errors import ClusterError

SECONDS_TO_ANSWER = 5.0
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
HTTP2_TYPE, HTTP2_SETTINGS = 3, 4  # place of a frame's type; the type that comes first


def check_answers(address: str) -> None:
    """Make sure that a cluster's address speaks Ray's protocol.

    Raises:
        ClusterError: if nothing listens at HOST:PORT, or something that is no Ray.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # such as "auto", whose meaning Ray knows
        return
    try:
        with socket.create_connection(
            (resolve_ip_for_localhost(host), int(port)), timeout=SECONDS_TO_ANSWER
        ) as connection:
            speaks = "RAY_USE_TLS" in os.environ or greets(connection)
    except (OSError, OverflowError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}); check --address, or unset RAY_ADDRESS "
            f"to search on this machine."
        ) from None
    if not speaks:
        raise ClusterError(
            f"what answers at {address} is no Ray cluster; give the address that `ray status` or "
            f"`ray start --head` prints, whose port is mostly 6379."
        )


def greets(connection: socket.socket) -> bool:
    """Whether the other end opens an HTTP/2 connection, as every part of Ray that is asked does."""
    connection.sendall(HTTP2_PREFACE)
    frame = connection.recv(9)  # length in three bytes, type, flags, stream in four
    return len(frame) > HTTP2_TYPE and frame[HTTP2_TYPE] == HTTP2_SETTINGS
