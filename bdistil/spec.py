"""The search space as typed, validated models, read from YAML with ``key=value`` overrides.

A *dimension* of the space is a constant (``lr: 0.02``), a list of choices
(``connection: [dense, gru]``) or, for numbers, a range (``{low: 0.01, high: 0.03, log: true}``).
A dimension left out takes the value of the recipe.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bdistil.errors import SpecError
from bdistil.problems import first_problem, shown

Task = Literal["auto", "classification", "regression", "multilabel"]
RecipeName = Literal["paper", "faithful", "accurate"]
Distillation = Literal["kl", "squared_p", "squared_log_p"]
Correction = Literal[
    "none", "orthogonal", "bounded", "minimax_relative", "minimax_absolute", "minimax_power"
]
ConnectionName = Literal["none", "residual", "dense", "lstm", "gru"]


class Section(BaseModel):
    """A part of the spec: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would read true as 1: `grace: true` as one second.
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and "bool" not in str(field.annotation):
            raise ValueError(f"must not be {str(value).lower()}, which is for switches")
        return value


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

    def __repr__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

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
    path: Path | None = Field(
        None, description="a Parquet, CSV or NPZ file, or a folder with x.npy and y.npy"
    )
    label: str | list[str] = Field(
        "label", description="the label's column in the file, or several columns"
    )
    features: list[str] | None = Field(None, description="feature columns; all others if left out")
    ignore: list[str] = Field([], description="columns to leave out")
    task: Task = "auto"
    validation: float = Field(0.2, gt=0, lt=1, description="share kept for selection")
    test: float = Field(0.2, gt=0, lt=1, description="share kept for the final figures")
    options: dict[str, Any] = Field({}, description="arguments of a named data set")

    @field_validator("label")
    @classmethod
    def _distinct(cls, label: str | list[str]) -> str | list[str]:
        if isinstance(label, list) and not 0 < len(set(label)) == len(label):
            raise ValueError(f"must name one column or several different ones, not {shown(label)}")
        return label

    @property
    def labels(self) -> list[str]:
        """The label's column, or all of several."""
        return [self.label] if isinstance(self.label, str) else self.label

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either name (a known data set) or path (your own file)")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave examples to train on (sum below 1)")
        return self


class TeacherSpec(Section):
    """The model to distil: trained here, the user's own, or columns of the user's table."""

    model: str = Field(
        "auto",
        description="a teacher of the zoo, auto, torchvision:NAME, timm:NAME, module:factory, "
        "file.py:factory, or a .onnx or .pt2 file",
    )
    options: dict[str, Any] = Field({}, description="arguments of the model, such as widths")
    weights: Path | None = Field(
        None, description="weights of your own network: .safetensors, or a state dict as .pt"
    )
    inputs: Literal["raw", "standardised"] | None = Field(
        None, description="features that your own model reads; raw if left out"
    )
    epochs: int = Field(60, ge=1)
    lr: float = Field(2e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    weight_decay: float = Field(1e-4, ge=0)
    columns: list[str] | None = Field(
        None,
        min_length=1,
        description="columns that hold a teacher's outputs, one a class, in class order",
    )
    outputs: Literal["logits", "probabilities"] = "logits"
    crossfit: int = Field(
        0, ge=0, description="folds, each answered by a teacher trained without it; 0 = off"
    )

    @field_validator("crossfit")
    @classmethod
    def _leaves_examples(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0 (off) or at least 2 folds, not 1")
        return folds

    @model_validator(mode="after")
    def _one_kind(self) -> TeacherSpec:
        if self.columns is not None and (self.is_foreign or self.weights is not None):
            raise ValueError("give either columns (known outputs) or your own model and weights")
        if self.weights is not None and ":" not in self.model:
            raise ValueError(
                f"weights go with model: torchvision:NAME, timm:NAME or module:factory, not "
                f"{self.model}"
            )
        if self.inputs is not None and not self.is_foreign:
            raise ValueError("inputs are for your own model; teachers of the zoo standardise")
        return self

    @property
    def is_foreign(self) -> bool:
        """Whether the model is the user's own: code, a library's by name, or a file."""
        return ":" in self.model or Path(self.model).suffix != ""

    @property
    def reads(self) -> Literal["raw", "standardised"]:
        """The features that the user's own model reads."""
        return self.inputs or "raw"

    def absolute(self) -> TeacherSpec:
        """The same with absolute paths."""
        place, colon, factory = self.model.rpartition(":")
        path = place if colon else self.model
        if Path(path).suffix in (".py", ".onnx", ".pt2"):
            path = str(Path(path).resolve())
        model = f"{path}{colon}{factory}" if colon else path
        weights = None if self.weights is None else self.weights.resolve()
        return self.model_copy(update={"model": model, "weights": weights})


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
    weight_decay: Number = None
    early_accept: bool | list[bool] | None = None
    distillation: Distillation | list[Distillation] | None = None
    correction: Correction | list[Correction] | None = None
    correction_bound: Number = None
    growth: float | None = Field(
        None, ge=0, description="cumulative FLOPs of stage t+1 over stage t; 0 = equal widths"
    )

    @field_validator("ladder")
    @classmethod
    def _growing(cls, ladder: list[int]) -> list[int]:
        if ladder[0] < 1 or any(a >= b for a, b in itertools.pairwise(ladder)):
            raise ValueError(f"widths must be positive and growing, not {ladder}")
        return ladder

    @field_validator("*")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError("a list of choices needs at least one entry")
        return value

    @field_validator("gamma", "lr", "epochs", "batch_size", "temperature", "correction_bound")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if any(v <= 0 for v in values_of(value)):
            raise ValueError(f"must be positive, not {shown(value)}")
        return value

    @field_validator("weight_decay")
    @classmethod
    def _not_negative(cls, value: Any) -> Any:
        if any(v < 0 for v in values_of(value)):
            raise ValueError(f"must not be negative, not {shown(value)}")
        return value

    @field_validator("label_share")
    @classmethod
    def _is_share(cls, value: Any) -> Any:
        if any(not 0 <= v <= 1 for v in values_of(value)):
            raise ValueError(f"must lie between 0 and 1, not {shown(value)}")
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
    beam: int = Field(1, ge=1, description="partial ensembles that grow side by side")
    cohort: int = Field(1, ge=1, description="candidates of one class that train together")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of students' products while they train; bf16 by autocast"
    )
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

    @model_validator(mode="after")
    def _beam_needs_best(self) -> SearchSpec:
        if self.beam > 1 and self.select != "best":
            raise ValueError("beam needs select: best, as branches are compared by their best")
        if self.beam > 1 and self.time_budget is not None:
            raise ValueError("beam knows no time_budget; set rounds, or interrupt and resume")
        return self


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
            raise ValueError(f"must be a URL such as sqlite:///study.db, not {shown(url)}")
        _refuse_password(url, "PGPASSWORD or use ~/.pgpass")
        return url


class Spec(Section):
    """A whole search: data, teacher, space, search, workers and tracking."""

    name: str = "search"
    seed: int = Field(0, ge=0)
    modules: list[str] = Field(
        [], description="your own code: installed modules or .py files, imported everywhere"
    )
    data: DataSpec
    teacher: TeacherSpec = TeacherSpec()
    space: SpaceSpec = SpaceSpec()
    search: SearchSpec = SearchSpec()
    workers: WorkerSpec = WorkerSpec()
    tracking: TrackingSpec = TrackingSpec()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if name in ("", ".", "..") or not name.isprintable() or set(name) & set("/\\"):
            raise ValueError(
                f"must be fit for a folder, without slashes, not {name!r}; use --out for a path"
            )
        return name

    @model_validator(mode="after")
    def _grid_needs_lists(self) -> Spec:
        if self.search.algorithm == "grid":
            if self.search.cohort > 1:
                raise ValueError("search.cohort needs algorithm: tpe or random, not grid")
            for name, dimension in self.space:
                if isinstance(dimension, Range):
                    raise ValueError(f"space.{name} is a range; algorithm: grid needs a list")
        return self

    @model_validator(mode="after")
    def _loggers_need_workers(self) -> Spec:
        if self.tracking.callbacks and not self.workers.count:
            raise ValueError("tracking.callbacks are Ray's; they need workers.count of at least 1")
        return self

    @property
    def recipes(self) -> tuple[RecipeName, ...]:
        """Every recipe of the space; the first one rules the game of the whole run."""
        return values_of(self.space.recipe)

    def identity(self) -> dict[str, Any]:
        """What decides a run's result; a run resumes only under the same identity.

        Where a file lies does not matter: data have a hash of their own in the run, and modules
        are told by the names that they register.
        """
        spec = self.model_dump(mode="json", exclude={"workers", "tracking", "name", "modules"})
        if spec["data"]["path"] is not None:
            spec["data"]["path"] = "a file"
        if self.teacher.is_foreign:
            spec["teacher"]["model"] = Path(self.teacher.model).name
        if self.teacher.weights is not None:
            spec["teacher"]["weights"] = "a file"
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
    is_file = isinstance(source, str | Path)
    tree = _read_yaml(Path(source)) if isinstance(source, str | Path) else _copy(source)
    for override in overrides:
        _apply(tree, override)
    try:
        return Spec.model_validate(tree)
    except ValidationError as error:
        origin = f"{source}: " if is_file else ""
        raise SpecError(f"{origin}{first_problem(error, Spec)}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist; see search_spaces/ for examples.") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}; give a YAML file.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{str(path)!r} is not valid YAML: {_yaml_problem(error)}.") from None
    if not isinstance(tree, dict):
        raise SpecError(f"{path} must hold keys such as data: and search:, not {shown(tree)}.")
    return tree


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error).partition("\n")[0]


def _copy(source: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(source, Mapping):
        raise SpecError(f"the spec is {shown(source)}; give a YAML file or a mapping.")
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(source), default=str))
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"the spec holds what YAML cannot: {error}.") from None
    return copied


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SpecError(f"override {override!r} must have the form key=value.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SpecError(
            f"override {shown(override)}: what follows = is no YAML; put text in quotes."
        ) from None
    *parents, leaf = key.split(".")
    for parent in parents:
        branch = tree.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise SpecError(f"override {override!r}: {parent!r} holds a value, not keys.")
        tree = branch
    tree[leaf] = value
