"""The closed vocabularies that several rooms speak: types, and tuples of values where asked."""

from typing import Literal, get_args

Task = Literal["classification", "regression", "multilabel"]
TASKS: tuple[Task, ...] = get_args(Task)

METRIC: dict[Task, str] = {
    "classification": "accuracy",
    "multilabel": "micro F1",
    "regression": "R²",
}
"""By what answers to each task are measured."""

TaskChoice = Literal["auto", Task]
"""A task as asked for: ``auto`` decides by the labels."""

Domain = Literal["tabular", "image", "sequence"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

ClassType = Literal["text", "integer", "boolean"]
"""What labels of classes were in the user's data, and are in answers."""
CLASS_TYPES: tuple[ClassType, ...] = get_args(ClassType)

RecipeName = Literal["paper", "faithful", "accurate", "auxiliary"]
RECIPE_NAMES: tuple[RecipeName, ...] = get_args(RecipeName)

RecipeChoice = Literal["auto", RecipeName]
"""A recipe as asked for: ``auto`` lets those compete that suit the data."""

Distillation = Literal["kl", "squared_p", "squared_log_p"]
DISTILLATIONS: tuple[Distillation, ...] = get_args(Distillation)

Correction = Literal[
    "none", "orthogonal", "bounded", "minimax_relative", "minimax_absolute", "minimax_power"
]
CORRECTIONS: tuple[Correction, ...] = get_args(Correction)

Normalisation = Literal["joint", "per_label"]

Algorithm = Literal["tpe", "gp", "random", "grid"]
"""How values of the dimensions are proposed."""

PrunerName = Literal["halving", "hyperband"]
"""What cuts candidates while they train."""

Selection = Literal["first", "best"]
"""Which weak learner of a round is taken."""

Fallback = Literal["none", "helpful", "best"]
"""What a round without a weak learner keeps."""

Precision = Literal["fp32", "bf16"]

Layout = Literal["vector", "sequence", "image", "NTF", "NFT", "NHW", "NCHW", "NHWC"]
"""What the axes of an array of examples mean."""
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

TeacherInputs = Literal["raw", "standardised"]

TeacherOutputs = Literal["logits", "probabilities"]
TEACHER_OUTPUTS: tuple[TeacherOutputs, ...] = get_args(TeacherOutputs)

Backend = Literal["auto", "torch", "onnx", "int8"]
"""What computes a saved ensemble; ``auto`` takes the graphs if they are there."""
BACKENDS: tuple[Backend, ...] = get_args(Backend)

Runtime = Literal["onnxruntime", "torch"]
"""What computes an ensemble where it is timed."""
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

Stacking = Literal["none", "block", "grouped", "apart", "aligned"]
"""How bodies of students run: one by one; side by side in one network, whose later layers are one
layer with zeros between the students, or one of equal groups, or each on its own channels; or one
by one with channels that are filled up to what the processor takes at once."""
STACKINGS: tuple[Stacking, ...] = get_args(Stacking)

GoalMetric = Literal["accuracy", "balanced_accuracy", "macro_f1", "auc"]
GOAL_METRICS: dict[GoalMetric, tuple[str, tuple[Task, ...]]] = {
    "accuracy": ("accuracy", ("classification",)),
    "balanced_accuracy": ("balanced accuracy", ("classification",)),
    "macro_f1": ("macro F1", ("classification", "multilabel")),
    "auc": ("AUC", ("classification",)),
}
"""What a goal can be about beside the task's own metric: its name among the scores, and tasks."""
