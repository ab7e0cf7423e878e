"""What a round's margin update costs on a cluster too large for this machine: four plans simulated.

Each plan brings the game after a student was accepted to every node. A node sends one shard at a
time and receives one at a time, whatever it lacks from whoever has it and is free, as Ray's object
managers do; the rates of memory and processor are measured here, in the same run. No Ray is needed.
Runs in a minute without arguments; ``--nodes 16 --outputs 100 --gbit 10`` changes the case.
"""

from __future__ import annotations

import argparse
import heapq
import json
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from bdistil.core.game import Rules, Summary
from bdistil.core.student import StudentConfig
from bdistil.export.checkpoint import build_student, student_to_bytes
from bdistil.searching.margin_shard import play_shard
from bdistil.searching.problem import Part, shard_rows

FLOAT = 4
LATENCY = 0.5e-3  # seconds before a transfer starts
INPUTS = 64  # of the student whose speed is measured; the update's time is in the logits

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A search on a cluster.

    Attributes:
        rows: N.
        outputs: L.
        inputs: floats of one example.
        hidden: sum of the widths of the accepted students, which travel with the margin.
        nodes: machines, the driver's among them.
        workers: trials of a node at a time.
        read: share of the rows that a trial reads; 1, since it is judged on all of them.
        threads: of a node that update the margin.
        nic: bytes a second that an interface sends, and receives.
        copy: bytes a second that go into the object store.
        play: bytes of margin that a thread updates a second.
        call: seconds that the driver spends on a call of a player.
        student: bytes of an accepted student.
    """

    rows: int
    outputs: int
    inputs: int
    hidden: int
    nodes: int
    workers: int
    read: float
    threads: int
    nic: float
    copy: float
    play: float
    call: float
    student: int

    @property
    def margin(self) -> int:
        """Bytes of M."""
        return self.rows * self.outputs * FLOAT

    @property
    def shards(self) -> FloatArray:
        """Bytes of each shard's margin."""
        cut = shard_rows(self.rows, self.outputs)
        return np.array([(s.stop - s.start) * self.outputs * FLOAT for s in cut], float)

    @property
    def sent(self) -> FloatArray:
        """Bytes of each shard's margin and hidden states."""
        return self.shards * (1 + self.hidden / self.outputs)

    @property
    def needed(self) -> float:
        """Share of the rows that some worker of a node reads."""
        return 1 - (1 - self.read) ** self.workers


@dataclass(frozen=True)
class Cost:
    """One round of a plan.

    Attributes:
        seconds: until every node can go on.
        driver: bytes that the driver's node sends.
        node: bytes that another node receives.
        store: bytes of margins in a node's object store, the old one's still among them.
    """

    seconds: float
    driver: float
    node: float
    store: float


def swarm(case: Case, sizes: FloatArray, owner: IntArray, made: FloatArray) -> tuple[float, float]:
    """Every node gets every object: seconds, and bytes that node 0 sends.

    Object k of `sizes` bytes is made at `made` seconds on node `owner`.
    """
    random = np.random.default_rng(0)
    have = np.zeros((case.nodes, len(sizes)), bool)
    coming = np.zeros_like(have)
    coming[owner, np.arange(len(sizes))] = True
    sending, receiving = np.zeros(case.nodes, bool), np.zeros(case.nodes, bool)
    events = [(at, -1, node, k) for k, (at, node) in enumerate(zip(made, owner, strict=True))]
    heapq.heapify(events)
    now, driver = 0.0, 0.0
    while events:
        now, source, target, k = heapq.heappop(events)
        have[target, k] = True
        if source >= 0:
            sending[source] = receiving[target] = False
        for node in random.permutation(np.flatnonzero(~receiving)):
            offered = have[~sending].any(axis=0) & ~coming[node]
            if not offered.any():
                continue
            wanted = random.choice(np.flatnonzero(offered))
            giver = random.choice(np.flatnonzero(have[:, wanted] & ~sending))
            sending[giver] = receiving[node] = coming[node, wanted] = True
            driver += sizes[wanted] * (giver == 0)
            end = now + LATENCY + sizes[wanted] / case.nic
            heapq.heappush(events, (end, giver, node, wanted))
    return now, driver


def played(case: Case, shards: FloatArray) -> FloatArray:
    """When one node has updated each of some shards, a shard a thread."""
    turns = np.arange(len(shards)) // case.threads + 1
    return turns * (shards / case.play + shards / case.copy)


def matrices_from_driver(case: Case) -> Cost:
    """K+ and K- made by one thread of the driver and sent to node after node."""
    both = 2 * case.margin
    made = both / case.play + both / case.copy
    sent = both * (case.nodes - 1)
    return Cost(made + sent / case.nic, sent, both, 2 * both)


def shards_from_driver(case: Case) -> Cost:
    """M updated on the driver's node; nodes pass shards on to each other."""
    sizes = case.sent * case.needed
    owner = np.zeros(len(sizes), int)
    seconds, driver = swarm(case, sizes, owner, played(case, case.shards))
    return Cost(seconds, driver, sizes.sum(), 2 * case.sent.sum())


def shards_shared_out(case: Case) -> Cost:
    """Every node updates its share of the shards and passes them on."""
    sizes = case.sent * case.needed
    owner = np.arange(len(sizes)) % case.nodes
    made = np.empty(len(sizes))
    for node in range(case.nodes):
        made[owner == node] = played(case, case.shards[owner == node])
    seconds, driver = swarm(case, sizes, owner, made)
    return Cost(seconds, driver, sizes[owner != 1].sum(), 2 * case.sent.sum())


def students_only(case: Case) -> Cost:
    """Every node updates its own copy of all shards."""
    calls = case.call * len(case.shards) * case.nodes
    work = played(case, case.shards).max()
    return after_the_student(case, max(calls, work), case.sent.sum())


def rows_of_the_node(case: Case) -> Cost:
    """Every node holds, trains on and updates its own rows alone."""
    own = case.shards[:: case.nodes]
    return after_the_student(case, played(case, own).max(), case.sent[:: case.nodes].sum())


def after_the_student(case: Case, work: float, kept: float) -> Cost:
    """The student goes everywhere, then nodes work by themselves."""
    student = np.array([case.student], float)
    seconds, driver = swarm(case, student, np.zeros(1, int), np.zeros(1))
    return Cost(seconds + work, driver, case.student, 2 * kept)


PLANS: dict[str, Callable[[Case], Cost]] = {
    "1  K+ and K- from the driver": matrices_from_driver,
    "2a M in shards, from the driver": shards_from_driver,
    "2b M in shards, made by all": shards_shared_out,
    "3  students only (as built)": students_only,
    "4  rows of the node only": rows_of_the_node,
}


def start(case: Case) -> float:
    """Seconds until every node has inputs and teacher, which the driver's node has first."""
    sizes = case.shards * (1 + case.inputs / case.outputs)
    return swarm(case, sizes, np.zeros(len(sizes), int), np.zeros(len(sizes)))[0]


def fastest(action: Callable[[], object], repeats: int = 3) -> float:
    """Least seconds of some repeats."""
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        action()
        times.append(time.perf_counter() - before)
    return min(times)


def measured_play(outputs: int) -> tuple[float, int]:
    """Bytes of margin a second in one thread, in a second round; bytes of the student."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    rows = 32 * 2**20 // (outputs * FLOAT)
    teacher = random.standard_normal((rows, outputs), dtype=np.float32)
    inputs = random.standard_normal((rows, INPUTS), dtype=np.float32)
    part, rules = Part(inputs, teacher, np.zeros(rows, np.int64)), Rules(0.1, "joint", 1.0, 1.0)
    config = StudentConfig("mlp", 16, "dense", True)
    first, second = (build_student(config, (INPUTS,), outputs, [16] * k) for k in range(2))
    state, shard = play_shard(part, None, first, Summary.start(rows, outputs), rules)
    seconds = fastest(lambda: play_shard(part, state, second, shard.summary, rules))
    return teacher.nbytes / seconds, len(student_to_bytes(second))


def measured_copy() -> float:
    """Bytes a second from the heap into fresh shared memory, as a put into the object store."""
    source = np.ones(64 * 2**20, np.uint8)
    return source.nbytes / fastest(lambda: mmap.mmap(-1, source.nbytes).write(source.data))


def table(case: Case, seconds_of_round: float) -> dict[str, float]:
    """Print every plan; the seconds by plan."""
    found = {}
    print("plan                              s a round  of it all  driver sends  node gets  store")
    for name, plan in PLANS.items():
        cost = plan(case)
        found[name.split()[0]] = cost.seconds
        share = cost.seconds / (cost.seconds + seconds_of_round)
        print(
            f"{name:33s} {cost.seconds:9.2f} {share:10.1%} {cost.driver / 1e9:10.3f} GB "
            f"{cost.node / 1e9:7.4f} GB {cost.store / 1e9:5.1f} GB"
        )
    return found


def growth(case: Case) -> None:
    """Print the seconds of each plan on more and more nodes."""
    sizes = (1, 4, 16, 64, 256)
    print("seconds a round, by nodes        " + "".join(f"{size:9d}" for size in sizes))
    for name, plan in PLANS.items():
        costs = [plan(replace(case, nodes=size)).seconds for size in sizes]
        print(f"{name:33s}" + "".join(f"{cost:9.2f}" for cost in costs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_280_000)
    parser.add_argument("--outputs", type=int, default=1000)
    parser.add_argument("--inputs", type=int, default=2048, help="floats of an example")
    parser.add_argument("--hidden", type=int, default=64, help="widths of the students, in all")
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--workers", type=int, default=4, help="trials of a node at a time")
    parser.add_argument("--read", type=float, default=1, help="share of the rows a trial reads")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--gbit", type=float, default=25, help="of each interface, each way")
    parser.add_argument("--call", type=float, default=0.4e-3, help="seconds of the driver a call")
    parser.add_argument("--round", type=float, default=600, help="seconds that trials take")
    given = vars(parser.parse_args())
    gbit, seconds_of_round = given.pop("gbit"), given.pop("round")
    play, student = measured_play(given["outputs"])
    case = Case(**given, nic=gbit * 1e9 / 8, copy=measured_copy(), play=play, student=student)
    print(
        f"N = {case.rows}, L = {case.outputs}: M = {case.margin / 1e9:.2f} GB in "
        f"{len(case.shards)} shards; {case.nodes} nodes, {case.threads} threads each, "
        f"{gbit:g} Gbit/s"
    )
    print(
        f"measured here: a thread updates {play / 1e6:.0f} MB of margin a second; "
        f"{case.copy / 1e9:.1f} GB a second go into shared memory; a student is "
        f"{student / 1e3:.0f} kB"
    )
    print(f"start: inputs and teacher are on every node after {start(case):.1f} s")
    seconds = table(case, seconds_of_round)
    growth(case)
    print(json.dumps({"ratio": seconds["1"] / seconds["3"], "seconds": seconds}))


if __name__ == "__main__":
    main()
