"""The search space as typed, validated models, read from YAML with ``key=value`` overrides.

A *dimension* of the space is a constant (``lr: 0.02``), a list of choices
(``connection: [dense, gru]``) or, for numbers, a range (``{low: 0.01, high: 0.03, log: true}``).
A dimension left out takes the value of the recipe.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bdistil.errors import SpecError

Task = Literal["auto", "classification", "regression"]
RecipeName = Literal["paper", "faithful", "accurate"]
ConnectionName = Literal["none", "residual", "dense", "lstm", "gru"]


class Section(BaseModel):
    """A part of the spec: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Section):
    """A closed interval of numbers, sampled uniformly or, with ``log``, log-uniformly."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low > 0, not {self.low:g}")
        return self

    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return self.low, self.high


Number = float | list[float] | Range | None


def values_of(dimension: Any) -> tuple[Any, ...]:
    """Every value named in a dimension: its constant, its choices or its two bounds."""
    if dimension is None:
        return ()
    if isinstance(dimension, Range):
        return dimension.bounds()
    return tuple(dimension) if isinstance(dimension, list) else (dimension,)


class DataSpec(Section):
    """Which data to learn from: a named data set, or the user's own file."""

    name: str | None = Field(None, description="a data set of `bdistil datasets`")
    path: Path | None = Field(None, description="a Parquet, CSV or NPZ file")
    label: str = Field("label", description="the label's column in the file")
    features: list[str] | None = Field(None, description="feature columns; all others if left out")
    ignore: list[str] = Field([], description="columns to leave out")
    task: Task = "auto"
    validation: float = Field(0.2, gt=0, lt=1, description="share kept for selection")
    test: float = Field(0.2, gt=0, lt=1, description="share kept for the final figures")
    options: dict[str, Any] = Field({}, description="arguments of a named data set")

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either name (a known data set) or path (your own file)")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave examples to train on (sum below 1)")
        return self


class TeacherSpec(Section):
    """The network to distil: trained here from the zoo, or given as columns of the user's table."""

    model: str = Field("auto", description="a teacher of the zoo, or auto to fit the data")
    options: dict[str, Any] = Field({}, description="arguments of the model, such as widths")
    epochs: int = Field(60, ge=1)
    lr: float = Field(2e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    weight_decay: float = Field(1e-4, ge=0)
    columns: list[str] | None = Field(
        None, description="columns that hold a teacher's outputs, one a class, in class order"
    )
    outputs: Literal["logits", "probabilities"] = "logits"


class SpaceSpec(Section):
    """The dimensions that trials search over."""

    recipe: RecipeName | list[RecipeName] = "accurate"
    student: str | list[str] = Field("auto", description="student classes of `bdistil students`")
    ladder: list[int] = Field(
        [8, 16, 32], min_length=1, description="widths of the growing classes F_1, F_2, ..."
    )
    connection: ConnectionName | list[ConnectionName] | None = None
    skip: bool | list[bool] | None = None
    gamma: Number = None
    lr: Number = None
    epochs: int | list[int] | None = None
    batch_size: int | list[int] | None = None
    label_share: Number = None
    temperature: Number = None
    growth: float | None = Field(
        None, ge=0, description="cumulative FLOPs of stage t+1 over stage t; 0 = equal widths"
    )

    @field_validator("ladder")
    @classmethod
    def _growing(cls, ladder: list[int]) -> list[int]:
        if ladder[0] < 1 or any(a >= b for a, b in itertools.pairwise(ladder)):
            raise ValueError(f"widths must be positive and growing, not {ladder}")
        return ladder

    @field_validator("recipe", "student", "connection", "skip", "epochs", "batch_size", "gamma")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("a list of choices needs at least one entry")
        return value

    @field_validator("gamma", "lr", "epochs", "batch_size", "temperature")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if any(v <= 0 for v in values_of(value)):
            raise ValueError(f"must be positive, not {_shown(value)}")
        return value

    @field_validator("label_share")
    @classmethod
    def _is_share(cls, value: Any) -> Any:
        if any(not 0 <= v <= 1 for v in values_of(value)):
            raise ValueError(f"must lie between 0 and 1, not {_shown(value)}")
        return value

    @field_validator("growth")
    @classmethod
    def _grows(cls, growth: float | None) -> float | None:
        if growth and growth <= 1:
            raise ValueError(f"must be above 1, or 0 for equal widths, not {growth:g}")
        return growth


class SearchSpec(Section):
    """How rounds are searched and what counts as a winner."""

    algorithm: Literal["tpe", "random", "grid"] = "tpe"
    rounds: int = Field(6, ge=1, description="T, the number of students")
    trials_per_round: int = Field(8, ge=1, description="most trials in one round")
    tries_per_class: int = Field(4, ge=1, description="trials before the next larger class")
    select: Literal["first", "best"] = "first"
    grace: float = Field(0, ge=0, description="seconds that others get after the first winner")
    normalisation: Literal["joint", "per_label"] | None = None
    min_edge: float = Field(0, description="least edge of a weak learner")
    min_gain: float = Field(0, description="least relative gain in validation loss")
    time_budget: float | None = Field(None, gt=0, description="seconds for the whole search")
    max_failures: int = Field(8, ge=0, description="failed trials that stop the search")

    @model_validator(mode="after")
    def _grace_needs_first(self) -> SearchSpec:
        if self.grace and self.select == "best":
            raise ValueError("grace goes with select: first; best waits for all trials anyway")
        return self


class WorkerSpec(Section):
    """Workers of the Ray cluster and what each trial takes of it."""

    count: int = Field(2, ge=1, description="trials that run at the same time")
    cpus: float = Field(1, gt=0, description="CPUs a trial")
    gpus: float = Field(0, ge=0, description="GPUs a trial; fractions share a GPU")
    autoscale: bool | None = Field(
        None, description="whether the cluster adds nodes when trials wait; null asks the cluster"
    )


class CallbackSpec(Section):
    """A logger of Ray Tune and its arguments."""

    name: Literal["tensorboard", "mlflow", "wandb"]
    options: dict[str, Any] = Field({}, description="arguments of Ray's callback")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            if key in SECRETS:
                raise ValueError(f"{key} would be written to the run; set {SECRETS[key]} instead")
            _refuse_password(value, "MLFLOW_TRACKING_PASSWORD")
        return options


SECRETS = {"api_key": "WANDB_API_KEY", "tracking_token": "MLFLOW_TRACKING_TOKEN"}


def _refuse_password(url: Any, instead: str) -> None:
    """The run directory keeps the spec, so it must not hold secrets."""
    if isinstance(url, str) and "://" in url and urlsplit(url).password:
        raise ValueError(f"a password would be written to the run; leave it out and set {instead}")


class TrackingSpec(Section):
    """Where trials are shown besides in the run directory."""

    callbacks: list[CallbackSpec] = Field(
        [], description="`tensorboard`, `mlflow` or `wandb`, as name or as {name, options}"
    )
    optuna_storage: str | None = Field(
        None, description="database URL of the Optuna study; null keeps it in optuna.journal"
    )

    @field_validator("optuna_storage")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and "://" not in url:
            raise ValueError(f"must be a URL such as sqlite:///study.db, not {_shown(url)}")
        _refuse_password(url, "PGPASSWORD or use ~/.pgpass")
        return url


class Spec(Section):
    """A whole search: data, teacher, space, search, workers and tracking."""

    name: str = "search"
    seed: int = Field(0, ge=0)
    data: DataSpec
    teacher: TeacherSpec = TeacherSpec()
    space: SpaceSpec = SpaceSpec()
    search: SearchSpec = SearchSpec()
    workers: WorkerSpec = WorkerSpec()
    tracking: TrackingSpec = TrackingSpec()

    @model_validator(mode="after")
    def _grid_needs_lists(self) -> Spec:
        if self.search.algorithm == "grid":
            for name, dimension in self.space:
                if isinstance(dimension, Range):
                    raise ValueError(f"space.{name} is a range; algorithm: grid needs a list")
        return self

    @property
    def recipes(self) -> tuple[RecipeName, ...]:
        """Every recipe of the space; the first one rules the game of the whole run."""
        return values_of(self.space.recipe)

    def identity(self) -> dict[str, Any]:
        """What decides a run's result; a run resumes only under the same identity."""
        spec = self.model_dump(mode="json", exclude={"workers", "tracking", "name"})
        for key in ("time_budget", "grace", "max_failures"):
            del spec["search"][key]
        return spec

    def to_yaml(self) -> str:
        """The resolved spec as YAML, readable by :func:`load_spec`."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_spec(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()) -> Spec:
    """Read a spec from a YAML file or a mapping and apply ``key=value`` overrides.

    Args:
        source: path of a YAML file, or the spec as a mapping. A relative ``data.path`` in a file
            is taken relative to the working directory.
        overrides: such as ``"search.rounds=4"`` or ``"space.lr={low: 0.01, high: 0.1}"``; the value
            is YAML.

    Raises:
        SpecError: if the file is missing or not YAML, or a key or value is wrong.
    """
    tree = _read_yaml(Path(source)) if isinstance(source, str | Path) else _copy(source)
    origin = str(source) if isinstance(source, str | Path) else "the spec"
    for override in overrides:
        _apply(tree, override)
    try:
        return Spec.model_validate(tree)
    except ValidationError as error:
        raise SpecError(f"{origin}: {_first_problem(error)}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist; see search_spaces/ for examples.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise SpecError(f"{path} is not valid YAML: {detail}.") from None
    if not isinstance(tree, dict):
        raise SpecError(f"{path} must hold keys such as data: and search:, not {_shown(tree)}.")
    return tree


def _copy(source: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(source, default=str))
    return copied


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SpecError(f"override {override!r} must have the form key=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SpecError(f"override {override!r}: {text!r} is not a YAML value.") from None
    *parents, leaf = key.split(".")
    for parent in parents:
        branch = tree.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise SpecError(f"override {override!r}: {parent!r} holds a value, not keys.")
        tree = branch
    tree[leaf] = value


def _first_problem(error: ValidationError) -> str:
    """The most telling problem of a validation error, as one sentence."""
    # Of a union's branches, the one that got furthest into the value tells most.
    problem = max(error.errors(), key=lambda p: (p["type"] == "value_error", len(p["loc"])))
    location = [str(part) for part in problem["loc"] if not _is_type_tag(part)]
    field = ".".join(location) or "the spec"
    if problem["type"] == "extra_forbidden":
        return _unknown_key(location)
    if problem["type"] == "missing":
        return f"{field} is missing; add it to the spec."
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"] == "value_error":
        return f"{field}: {message}."
    return f"{field} is {_shown(problem['input'])}: {message}."


def _is_type_tag(part: int | str) -> bool:
    """Whether pydantic added this part of a location to name a member of a union."""
    tags = ("list[", "literal[", "float", "int", "str", "bool", "Range", "function-")
    return isinstance(part, int) or part.startswith(tags)


def _unknown_key(location: list[str]) -> str:
    section: Any = Spec
    for part in location[:-1]:
        section = next((t for t in _member_types(section.model_fields[part].annotation)), section)
    close = difflib.get_close_matches(location[-1], section.model_fields, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(section.model_fields)}."
    return f"unknown key {'.'.join(location)!r}; {hint}"


def _member_types(annotation: Any) -> Iterator[type[BaseModel]]:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            yield candidate


def _shown(value: Any) -> str:
    if isinstance(value, Range):
        return f"{value.low:g} to {value.high:g}"
    return repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
