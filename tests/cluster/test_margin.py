"""The stored margin on two real nodes: the same bits as in one process, and no copies left over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import ray
import torch
from ray._private.state import actors as actor_table
from ray._private.worker import global_worker
from ray.cluster_utils import Cluster
from ray.experimental import get_object_locations
from tiny import eventually, tiny

from bdistil.cluster.connect import alive_nodes
from bdistil.cluster.launch import launch_search
from bdistil.cluster.stored_margin import StoredMargin
from bdistil.core.game import Rules, Summary
from bdistil.core.student import Student, StudentConfig
from bdistil.core.training_split import TrainingSplit
from bdistil.errors import BdistilWarning
from bdistil.export.checkpoint import build_student, student_from_bytes, student_to_bytes
from bdistil.searching import problem
from bdistil.searching.backend import Played
from bdistil.searching.ledger import Ledger
from bdistil.searching.margin_shard import PlayedShard, combined_sha256
from bdistil.searching.problem import Part, build_problem, training_shards
from bdistil.searching.resolve import game_rules
from bdistil.searching.result import SearchResult
from bdistil.spec import WorkerSpec
from clusters import several_nodes

pytestmark = pytest.mark.cluster

INPUTS, OUTPUTS = 5, 40
EXAMPLES = 2048 + 700  # three shards; a whole one is above Ray's inline limit
RULES = Rules(0.05, "joint", bound=3.0, scale=1.0)
WORKERS = WorkerSpec(count=4)
CONNECTIONS = ("none", "gru", "dense", "residual")
Store = Callable[[Iterable[Part], Rules], StoredMargin]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem, "SHARD_BYTES", 1024 * OUTPUTS * 4)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with several_nodes(2, 2) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def part() -> Part:
    random = np.random.default_rng(0)
    teacher = random.normal(size=(EXAMPLES, OUTPUTS)).astype(np.float32)
    inputs = random.normal(size=(EXAMPLES, INPUTS)).astype(np.float32)
    return Part(inputs, teacher, teacher.argmax(axis=1))


@pytest.fixture(scope="module")
def students() -> list[bytes]:
    torch.manual_seed(0)
    built: list[Any] = []
    for name in CONNECTIONS:
        earlier = [student.features for student in built]
        built.append(
            build_student(StudentConfig("mlp", 6, name, True), (INPUTS,), OUTPUTS, earlier)
        )
        torch.nn.init.normal_(built[-1].head.weight)
    return [student_to_bytes(student) for student in built]


@pytest.fixture(scope="module")
def store(two_nodes: Cluster) -> Store:
    """Makes stored margins with the same players: each is a process, which takes long to start."""
    hire, players = StoredMargin.hire, dict[str, Any]()

    def hire_again(margin: StoredMargin) -> None:
        margin.players = players
        hire(margin)

    def make(shards: Iterable[Part], rules: Rules) -> StoredMargin:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StoredMargin, "hire", hire_again)
            return StoredMargin(shards, rules, WORKERS)

    return make


@pytest.fixture
def stored(store: Store, part: Part) -> StoredMargin:
    return store(part.shards(), RULES)


def in_one_process(part: Part, students: list[bytes]) -> list[TrainingSplit]:
    """The split after each number of students."""
    splits = [TrainingSplit.before_round_one([s.examples() for s in part.shards()], RULES)]
    for blob in students:
        sizes = [state.features.shape[1] for state in splits[-1].shards[0].earlier]
        student = student_from_bytes(blob, (INPUTS,), OUTPUTS, sizes, "a student")
        splits.append(splits[-1].played(student))
    return splits


def other_node(margin: StoredMargin) -> str:
    [node] = margin.players.keys() - {margin.home}
    return node


def locations(references: list[Any]) -> list[set[str]]:
    found = get_object_locations(references)
    return [set(found[reference]["node_ids"]) for reference in references]


def same(summary: Summary, other: Summary) -> bool:
    return torch.equal(summary.log_cosh, other.log_cosh) and torch.equal(
        summary.log_sinh, other.log_sinh
    )


def test_every_nodes_copy_is_to_the_bit_that_of_one_process(
    stored: StoredMargin, part: Part, students: list[bytes]
) -> None:
    start, *splits = in_one_process(part, students)
    assert len(stored.parts) == len(start.shards) == 3
    assert same(stored.summary, start.shards[0].game.summary)
    for blob, split in zip(students, splits, strict=True):
        stored.play(blob)
        assert same(stored.summary, split.shards[0].game.summary)
        for node in (stored.home, other_node(stored)):
            states = ray.get(stored.shards(node))
            for state, shard in zip(states, split.shards, strict=True):
                np.testing.assert_array_equal(state.margin, shard.game.margin.numpy())
                for ours, theirs in zip(state.hidden(), shard.earlier, strict=True):
                    assert torch.equal(ours.features, theirs.features)
                    assert (ours.memory is None) == (theirs.memory is None)


def test_a_round_sends_a_student_and_no_margin(stored: StoredMargin, students: list[bytes]) -> None:
    node = other_node(stored)
    stored.play(students[0])
    split = sum(ray.get(part).teacher_logits.nbytes for part in stored.parts)
    assert stored.traffic.take()[node] > split  # once
    for blob in students[1:]:
        stored.play(blob)
        sent = stored.traffic.take()
        assert sent.keys() <= {node}
        assert sum(sent.values()) < 3 * len(blob) < split / 10
    whole_shards = stored.shards(node)[:2]
    assert locations(whole_shards) == [{node}] * 2
    assert locations(stored.shards(stored.home)[:2]) == [{stored.home}] * 2


def test_old_margins_are_freed_but_not_under_a_reader(
    stored: StoredMargin, students: list[bytes]
) -> None:
    def held() -> set[str]:
        return {key.decode() for key in global_worker.core_worker.get_all_reference_counts()}

    stored.play(students[0])
    old = {reference.hex() for node in stored.copies for reference in stored.shards(node)}
    [state, *_] = ray.get(stored.shards(stored.home))  # a loser that still trains
    kept = state.margin.copy()
    assert len(old & held()) == 6
    stored.play(students[1])
    assert eventually(lambda: not old & held())
    stored.play(students[2])
    np.testing.assert_array_equal(state.margin, kept)


def test_a_node_that_computes_other_bits_reads_the_reference(
    stored: StoredMargin, students: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = other_node(stored)
    honest = stored.call

    def call(where: str, move: Any) -> tuple[list[Any], list[Any]]:
        states, results = honest(where, move)
        if where == node:
            results[0] = ray.put(replace(ray.get(results[0]), sha256="another processor"))
        return states, results

    monkeypatch.setattr(stored, "call", call)
    stored.play(students[0])
    assert stored.shards(node) == stored.shards(stored.home)
    monkeypatch.undo()
    stored.traffic.take()
    stored.play(students[1])  # the node plays on the reference, which it has to fetch once
    assert stored.traffic.take()[node] > 2 * 1024 * OUTPUTS * 4
    assert stored.shards(node) != stored.shards(stored.home)


def test_a_killed_player_is_replaced(
    stored: StoredMargin, part: Part, students: list[bytes]
) -> None:
    *_, split = in_one_process(part, students[:2])
    stored.play(students[0])
    for player in stored.players.values():
        ray.kill(player)
    stored.play(students[1])
    assert same(stored.summary, split.shards[0].game.summary)
    stored.play(students[2])
    assert other_node(stored) in stored.copies


def test_nodes_come_and_go(
    two_nodes: Cluster, store: Store, part: Part, students: list[bytes]
) -> None:
    third = two_nodes.add_node(num_cpus=2)
    two_nodes.wait_for_nodes()
    stored = store(part.shards(), RULES)
    assert len(stored.players) == 3
    stored.play(students[0])
    two_nodes.remove_node(third)
    stored.play(students[1])
    fourth = two_nodes.add_node(num_cpus=2)
    two_nodes.wait_for_nodes()
    assert stored.shards(fourth.node_id) == stored.shards(stored.home)
    stored.play(students[2])
    assert fourth.node_id in stored.copies
    assert third.node_id not in stored.copies
    *_, split = in_one_process(part, students[:3])
    assert same(stored.summary, split.shards[0].game.summary)
    two_nodes.remove_node(fourth)
    assert eventually(lambda: len(alive_nodes()) == 2)


def test_the_hash_is_of_all_shards_in_order() -> None:
    summary = Summary.start(1, 1)
    one, two = PlayedShard("1", summary), PlayedShard("2", summary)
    hashes = [combined_sha256(shards) for shards in ([one, two], [two, one], [one], [two])]
    assert len(set(hashes)) == 4


def play(margin: StoredMargin, student: Student, weights: bytes) -> Played:
    margin.play(weights)
    return Played(margin.sha256)


def actors() -> set[str]:
    """Ids of those that live; Ray's public list needs a dashboard, which no test starts."""
    table = actor_table()
    return {actor for actor, entry in table.items() if entry["State"] != "DEAD"}


class Searched(NamedTuple):
    """A search, and the actors that it had left when it returned."""

    found: SearchResult
    left: set[str]


@pytest.fixture(scope="module")
def searched(two_nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    before = actors()
    spec = tiny("search.rounds=2", "data.options.examples=3000", "space.epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem, "SHARD_BYTES", 1)  # shards of 1024 rows
        found = launch_search(spec, tmp_path_factory.mktemp("searched") / "run")
    return Searched(found, actors() - before)


def test_a_search_on_two_nodes_says_what_it_sent_and_is_replayed_to_the_bit(
    searched: Searched, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "SHARD_BYTES", 1)
    found = searched.found
    first, second = found.rounds
    [(node, start)] = first.received_bytes.items()
    assert start > 1800 * 16 * 4
    assert 0 < second.received_bytes[node] < 1800 * 4 * 4

    dataset, logits = found.dataset, found.run.teacher.logits()
    data = build_problem(dataset, logits)
    ledger = Ledger(found.run, data)
    ledger.restore()

    def replayed() -> StoredMargin:
        margin = store(training_shards(dataset, logits), game_rules(found.run.spec(), data))
        ledger.replay(partial(play, margin))
        return margin

    with warnings.catch_warnings():
        warnings.simplefilter("error", BdistilWarning)
        assert replayed().sha256 == second.margin_sha256 != first.margin_sha256
    ledger.records[-1] = second.model_copy(update={"margin_sha256": first.margin_sha256})
    with pytest.warns(BdistilWarning, match="not to the bit the one after round 2"):
        replayed()


def test_nothing_of_a_search_stays_in_a_session_that_lives_on(searched: Searched) -> None:
    ended = eventually(lambda: not searched.left & actors())
    assert ended, [actor_table()[left] for left in searched.left & actors()]
