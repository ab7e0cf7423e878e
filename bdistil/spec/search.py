"""How rounds are searched, and on which workers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from bdistil.spec.section import Section

Fallback = Literal["none", "helpful", "best"]

ROUNDS, TRIES = 6, 4  # where nothing is said


class SearchSpec(Section):
    """How rounds are searched and what counts as a winner."""

    algorithm: Literal["tpe", "gp", "random", "grid"] = "tpe"
    rounds: int | None = Field(
        None, ge=1, description="T, the most students; null: 6, or as many as the goal needs"
    )
    trials_per_round: int | None = Field(
        None, ge=1, description="most trials in one round; null: the tries of all classes"
    )
    tries_per_class: int | None = Field(
        None,
        ge=1,
        description="trials before the next larger class; null: 4, or more for more workers",
    )
    select: Literal["first", "best"] = "best"
    fallback: Fallback = Field(
        "helpful",
        description="what a round without a weak learner keeps: the candidate of the largest gain "
        "if the ensemble is better with it on validation (helpful) or whatever it does (best), or "
        "none of them; without one the search ends",
    )
    grace: float = Field(0, ge=0, description="seconds that others get after the first winner")
    cohort: int = Field(1, ge=1, description="candidates of one class that train together")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of students' products while they train; bf16 by autocast"
    )
    normalisation: Literal["joint", "per_label"] | None = None
    min_edge: float = Field(0, description="least edge of a weak learner")
    min_gain: float = Field(0, description="least relative gain in validation loss")
    time_budget: float | None = Field(None, gt=0, description="seconds of one run of the command")
    max_failures: int = Field(8, ge=0, description="failed trials that stop the search")
    warm_start: list[str] = Field(
        [], description="run directories whose trials the sampler learns from before its own"
    )

    @property
    def most_rounds(self) -> int:
        """T."""
        return self.rounds or ROUNDS

    @property
    def tries(self) -> int:
        """Trials of one class."""
        return self.tries_per_class or TRIES

    def most_trials(self, classes: int) -> int:
        """Trials of a round in which no class has a weak learner."""
        every_class = self.tries * classes
        return min(self.trials_per_round or every_class, every_class)

    @model_validator(mode="after")
    def _grace_needs_first(self) -> SearchSpec:
        if self.grace and self.select == "best":
            raise ValueError("grace goes with select: first; best waits for all trials anyway")
        return self

    @model_validator(mode="before")
    @classmethod
    def _without_beam(cls, content: Any) -> Any:
        """Runs of earlier versions name a beam, whose default was 1."""
        if isinstance(content, dict) and "beam" in content:
            if content["beam"] != 1:
                raise ValueError(
                    "beam is gone, since it found nothing that select: best with as many trials "
                    "does not; remove it and raise trials_per_round"
                )
            content = {name: value for name, value in content.items() if name != "beam"}
        return content


class WorkerSpec(Section):
    """Workers of the Ray cluster and what each trial takes of it."""

    count: int = Field(
        2, ge=0, description="trials that run at the same time; 0 searches without Ray, here"
    )
    cpus: float = Field(1, gt=0, description="CPUs a trial")
    gpus: float = Field(0, ge=0, description="GPUs a trial; fractions share a GPU")
    compile: bool = Field(False, description="train by torch.compile")
    autoscale: bool | None = Field(
        None, description="whether the cluster adds nodes when trials wait; null asks the cluster"
    )
