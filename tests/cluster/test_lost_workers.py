"""What becomes of a trial whose worker is lost, without Ray."""

from __future__ import annotations

import asyncio
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from bdistil.cluster.board import Board, Handout
from bdistil.cluster.lost_worker import why_lost
from bdistil.cluster.ray_backend import RERUNS, LossCallback, RayBackend
from bdistil.cluster.searcher import Event, Finished, Idle, Lost
from bdistil.cluster.trainable import Report
from bdistil.errors import BdistilWarning, SearchError
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.trial import Cohort, Place, TrialAnswer, TrialRequest, TrialResult
from bdistil.searching.checkpointing import NoCheckpoints
from bdistil.searching.controller import RoundController
from bdistil.searching.verdict import Winner
from bdistil.spec import load_spec


class Sampler:
    def open_round(self, round_number: int) -> None:
        pass

    def ask(
        self, round_number: int, number: int, shared: Any = None, rung: int = 0
    ) -> dict[str, Any]:
        return {"lr": 0.1}

    def tell(self, result: TrialResult) -> None:
        pass


class BoardOnPaper:
    """The board's client without its actor; each queued cohort is taken by the next trial."""

    def __init__(self) -> None:
        self.queue: list[Cohort] = []
        self.taken: dict[str, Cohort] = {}

    def push(self, cohort: Cohort, earlier: Checkpoint | None = None) -> None:
        self.queue.append(cohort)

    def take(self, trial_id: str) -> Cohort:
        self.taken[trial_id] = self.queue.pop(0)
        return self.taken[trial_id]

    def taken_by(self, trial_id: str) -> Place | None:
        cohort = self.taken.pop(trial_id, None)
        return None if cohort is None else cohort.place

    def has_workers(self) -> bool:
        return bool(self.taken)

    def forget(self, trial_id: str) -> None:
        self.taken.pop(trial_id, None)

    def candidate(self, number: int) -> bytes:
        return b""

    def close(self) -> int:
        dropped = len(self.queue)
        self.queue.clear()
        return dropped


class Search:
    """A controller and the Ray backend on a board of paper; what Tune would tell is told here."""

    def __init__(self, **search: Any) -> None:
        spec = load_spec(
            {
                "data": {"name": "cube"},
                "space": {"ladder": [4]},
                "search": {"rounds": 3, "tries_per_class": 2, "select": "first"} | search,
                "workers": {"count": 1},
            }
        )
        self.winners: list[Winner] = []
        self.board = BoardOnPaper()
        self.backend = RayBackend()
        self.backend.spec = spec
        self.backend.board = self.board  # type: ignore[assignment]
        self.controller = RoundController(spec, Sampler(), self.accept, rounds_done=1)

    def accept(self, winner: Winner) -> None:
        self.winners.append(winner)
        self.backend.close_round()

    def hear(self, event: Event) -> None:
        """One turn of the search's loop, with what came in."""
        self.controller.answer(self.backend.take_in(event))
        self.hand_out()

    def hand_out(self) -> None:
        while self.backend.idle > 0 and (cohort := self.controller.next_cohort()) is not None:
            self.backend.submit(cohort)

    def start(self, trial_id: str) -> Cohort:
        """A worker begins; it takes what is queued."""
        self.hear(Idle())
        return self.board.take(trial_id)

    def lose(self, trial_id: str, reason: str) -> None:
        self.hear(Lost(trial_id, reason))

    def finish(self, trial_id: str, weak: bool = True, device: str = "") -> None:
        cohort = self.board.taken[trial_id]
        answer = TrialAnswer(status="finished", weak=weak, device=device)
        self.hear(Finished(trial_id, Report(place=cohort.place, answers=[answer])))


@pytest.mark.parametrize(("gpus", "device"), [(1, "cpu"), (1, "cuda"), (0, "cpu")])
def test_a_trial_that_was_to_have_a_gpu_and_had_none_is_told(gpus: float, device: str) -> None:
    search = Search()
    workers = search.backend.spec.workers.model_copy(update={"gpus": gpus})
    search.backend.spec = search.backend.spec.model_copy(update={"workers": workers})
    search.start("a")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        search.finish("a", device=device)
    said = [str(each.message) for each in told if each.category is BdistilWarning]
    assert [text.split(",")[0] for text in said] == (
        ["workers.gpus is 1"] if gpus and device == "cpu" else []
    )


def test_another_worker_gets_the_same_trial() -> None:
    search = Search(max_failures=0)
    lost = search.start("a")
    search.lose("a", "the node was lost")
    assert search.start("b") == lost
    search.finish("b")
    assert search.winners[0].result.request == lost.requests[0]


def test_a_trial_that_comes_further_each_time_may_cost_any_number_of_workers() -> None:
    search, kept = Search(max_failures=0), []
    cohort = search.start("0")
    posted = (cohort.place, Checkpoint(3, b""))
    search.backend.inbox = SimpleNamespace(take=lambda: posted)  # type: ignore[assignment]

    class Files(NoCheckpoints):
        def keep(self, cohort: Cohort, checkpoint: Checkpoint) -> bool:
            kept.append(checkpoint)
            return True

    search.backend.checkpoints = Files()
    for number in range(3 * RERUNS):
        search.backend.keep_checkpoint()
        search.lose(str(number), "its node was preempted")
        assert search.start(str(number + 1)) == cohort
    assert len(kept) == 3 * RERUNS
    search.finish(str(3 * RERUNS))
    assert search.winners


def test_a_trial_that_tune_starts_again_itself_gets_nothing_and_costs_no_worker() -> None:
    search = Search(tries_per_class=1)
    lost = search.start("a")
    told: list[Event] = []
    trial: Any = SimpleNamespace(trial_id="a", error_file=None)
    LossCallback(told.append).on_trial_recover(0, [], trial)  # its node was preempted
    for event in told:
        search.hear(event)
    search.hear(Finished("a", None))  # what Tune starts again finds nothing
    assert search.start("b") == lost
    search.finish("b")
    assert search.start("c").round == 3
    assert search.backend.idle == 0


def test_a_trial_that_costs_worker_after_worker_has_failed() -> None:
    search = Search(max_failures=0)
    first = search.start("0")
    for number in range(RERUNS):
        search.lose(str(number), "it crashed")
        assert search.start(str(number + 1)) == first
    sentence = rf"the last one: it cost {RERUNS + 1} workers: it crashed"
    with pytest.raises(SearchError, match=sentence):
        search.lose(str(RERUNS), "it crashed")


def test_a_lost_trial_of_a_closed_round_is_not_run_again() -> None:
    search = Search()
    search.start("slow")
    search.start("fast")
    search.finish("fast")
    search.lose("slow", "the node was lost")
    assert search.start("next").round == 3


def test_no_request_is_made_for_a_worker_that_is_lost_while_it_waits() -> None:
    search = Search(tries_per_class=1)
    search.start("a")
    search.hear(Idle())
    search.lose("waiting", "the node was lost")
    search.finish("a")
    assert search.board.queue == []  # nobody is there to take one
    assert search.start("b").round == 3


def test_workers_that_never_get_to_a_trial_end_the_search_unless_others_do() -> None:
    search = Search(max_failures=0)

    def lose(trial_id: str) -> None:
        search.hear(Idle())
        search.lose(trial_id, "no such GPU")

    lose("a")
    search.start("b")
    search.finish("b")
    lose("c")
    with pytest.raises(SearchError, match=r"2 workers in a row .* first trial: no such GPU"):
        lose("d")


def test_a_worker_that_trains_for_long_is_not_ended_by_others_that_never_start() -> None:
    search = Search(max_failures=0, tries_per_class=1)
    search.start("healthy")
    for number in range(10):
        search.hear(Idle())
        search.lose(f"stillborn {number}", "no such GPU")
    search.finish("healthy")
    assert len(search.winners) == 1


def test_the_board_knows_whether_a_worker_is_left() -> None:
    async def play() -> list[bool]:
        board = Board(expected=0)
        found = [await board.has_workers()]
        waiting = asyncio.create_task(board.take("a"))
        await asyncio.sleep(0)
        found.append(await board.has_workers())
        await board.taken_by("a")
        found.append(await board.has_workers())
        await board.end()
        await waiting
        return found

    assert asyncio.run(play()) == [False, True, False]


def request(number: int) -> TrialRequest:
    return TrialRequest(round=1, number=number, rung=0, attempt=0, params={}, seed=0)


def test_a_cohort_never_goes_to_a_worker_that_is_gone() -> None:
    cohort = Cohort(requests=(request(0),))

    async def play() -> Handout | None:
        board = Board(expected=0)
        dead = asyncio.create_task(board.take("dead"))
        await asyncio.sleep(0)  # it waits for a cohort
        assert await board.taken_by("dead") is None
        alive = asyncio.create_task(board.take("alive"))
        await asyncio.sleep(0)
        await board.push(cohort)
        assert await dead is None
        return await alive

    assert asyncio.run(play()) == Handout(cohort)


TRACEBACK = """Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died because of an error raised in its creation task, ray::TrialWorker.__init__()
  File "experiment.py", line 9, in __init__
    raise ValueError("no such
ValueError: no such
thing
"""
PLACE = "\tclass_name: TrialWorker\n\tpid: 7\n\tip: 192.0.2.7\n"
KILLED = (
    f"The actor died unexpectedly.\n{PLACE}The actor is dead because its worker process has died. "
    "Some common causes include: (1) the process was killed by the OOM killer"
)
NODE = f"The actor died unexpectedly.\n{PLACE}The actor died because its node has died. Node Id: ab"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TRACEBACK, "ValueError: no such thing"),
        (KILLED, "the process on 192.0.2.7 crashed or was killed, often for want of memory"),
        (NODE, "the node 192.0.2.7 was lost"),
        ("Task was killed due to the node running low on memory.\nMemory", "the node ran out"),
        ("", "Ray gives no reason"),
        (str(ActorDiedError()), "The actor died unexpectedly"),
    ],
)
def test_the_reason_is_one_clause(error: str, reason: str) -> None:
    assert why_lost(error).startswith(reason)
    assert "\n" not in why_lost(error)
