"""The process group of the workers that train a teacher together: how they meet and part.

On GPUs they speak through NCCL, otherwise through Gloo.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

import ray
import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from bdistil.zoo.data_parallel import ALONE, Share

MEETING = timedelta(minutes=5)
SILENCE = timedelta(hours=2)  # of a worker while the first one judges; a dead one is known at once
SIOCGIFADDR = 0x8915  # Linux: what address an interface has
PARTING = re.compile(r"gloo|nccl|store|socket|connect|peer|timed? ?out", re.IGNORECASE)


class Desk(NamedTuple):
    """A worker that is up.

    Attributes:
        address: of its node.
        port: where it waits for the others, 0 if it waits for nobody.
        has_gpu: whether it trains on one.
    """

    address: str
    port: int
    has_gpu: bool


class Post(NamedTuple):
    """A worker's part in a training.

    Attributes:
        share: its rank, and how many there are.
        first: the worker of rank 0, where all meet.
        backend: of torch's collectives.
    """

    share: Share
    first: Desk
    backend: str


def posts(desks: Sequence[Desk]) -> list[Post]:
    """One for each worker, in their order."""
    backend = "nccl" if all(desk.has_gpu for desk in desks) else "gloo"
    return [Post(Share(rank, len(desks)), desks[0], backend) for rank in range(len(desks))]


def open_store() -> TCPStore:
    """Where others can meet, at a free port of this node."""
    return TCPStore(
        ray.util.get_node_ip_address(), 0, is_master=True, wait_for_workers=False, timeout=MEETING
    )


@contextlib.contextmanager
def joined(post: Post | None, own: TCPStore | None) -> Iterator[Share]:
    """The share of a worker in torch's default process group, which lasts for the body.

    Args:
        post: of the worker; None if it trains alone.
        own: the worker's store, None if it trains alone; that of the first is where all meet.

    Raises:
        RuntimeError: torch's, if the others cannot be reached; see :func:`is_parting`.
    """
    if post is None or post.share.processes == 1:
        yield ALONE
        return
    here = ray.util.get_node_ip_address()
    if name := interface_of(here):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)  # else it asks for the host's name
    store = own
    if not post.share.is_first:
        store = TCPStore(post.first.address, post.first.port, is_master=False, timeout=MEETING)
    rank, workers = post.share
    distributed.init_process_group(
        post.backend, store=store, rank=rank, world_size=workers, timeout=SILENCE
    )
    try:
        yield post.share
    finally:
        distributed.destroy_process_group()


def is_parting(error: BaseException) -> bool:
    """Whether torch says so that workers do not reach each other, or no longer."""
    return isinstance(error, RuntimeError) and PARTING.search(str(error)) is not None


def interface_of(address: str) -> str | None:
    """The name of the network interface with an IPv4 address; None if nobody tells."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                wanted = struct.pack("256s", name.encode())
                answer = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, wanted)
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def trains_on_gpu(gpus: float) -> bool:
    """Whether a worker with so many GPUs sees one."""
    return gpus > 0 and torch.cuda.is_available()
