"""Which files every node sees: those on one machine, or on a file system that all share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bdistil.cluster.connect import scales
from bdistil.searching.problem import MappedPart, Part
from bdistil.spec import WorkerSpec


def seen_by_all(part: Part, workers: WorkerSpec) -> bool:
    """Whether a part can travel as a path: every node sees its file, and no node is to come."""
    if not isinstance(part, MappedPart):
        return True
    if scales(workers):
        return False
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    return len(nodes) == 1 or all(ray.get([_look(part.file, node) for node in nodes]))


def unmapped(part: Part) -> Part:
    """The part as it travels through the object store, which spills to disk what it cannot hold."""
    return part.unmapped() if isinstance(part, MappedPart) else part


def _look(file: Path, node: str) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    look = ray.remote(_is_there).options(num_cpus=0, scheduling_strategy=there)
    return look.remote(file, file.stat().st_size)


def _is_there(file: Path, expected: int) -> bool:
    return file.exists() and file.stat().st_size == expected
