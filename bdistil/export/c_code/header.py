"""The C header of an ensemble: constants, weights, state and a step function a stage."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from bdistil.export.c_code.literals import array, float_literal, identifier, string_literal
from bdistil.export.c_code.stage_function import StageFunction
from bdistil.export.c_code.tracing import TracedStage, is_input, trace
from bdistil.export.c_code.weights import Weights
from bdistil.export.ensemble import Ensemble
from bdistil.export.graphs import stage_inputs
from bdistil.runtime.onnx_runner import INPUT
from bdistil.version import __version__

KERNELS = {
    "window": {"convolve", "average_pool"},
    "gate": {"gru", "lstm"},
    "linear": set[str](),
    "multiply": set[str](),
    "convolve": set[str](),
    "average_pool": set[str](),
    "softmax": set[str](),
    "normalise": set[str](),
    "gru": set[str](),
    "lstm": set[str](),
}
"""The files in ``kernels/`` in the order of the header, each with others that need it."""


def header(ensemble: Ensemble, example: NDArray[np.float32]) -> str:
    """The text of ``ensemble.h``.

    Args:
        ensemble: on the CPU.
        example: one raw example, float32 (1, ...).

    Raises:
        SpecError: if a student cannot be traced or does what has no counterpart in C.
    """
    stages = [
        trace(ensemble, number, inputs)
        for number, inputs in enumerate(stage_inputs(ensemble, example), start=1)
    ]
    read = {name for stage in stages for name in stage.inputs.values()}
    weights = Weights()
    functions = [_function(ensemble, stage, weights) for stage in stages]
    kept = {name: size for stage in stages for name, size in _left(stage).items() if name in read}
    scratch = max(function.scratch.size for function in functions)
    floats = ensemble.outputs + sum(kept.values()) + scratch
    called = set[str]().union(*(function.kernels for function in functions))
    parts = [
        _introduction(ensemble, weights.floats, floats),
        *_facts(ensemble),
        *weights.arrays(),
        _state(ensemble, kept, scratch),
        *_kernels(called),
        *(_step(stage, function, kept) for stage, function in zip(stages, functions, strict=True)),
        _steps(len(stages)),
    ]
    return "\n\n".join(parts) + "\n"


def _function(ensemble: Ensemble, stage: TracedStage, weights: Weights) -> StageFunction:
    program = stage.program
    pointers = {
        placeholder: name if name == INPUT else f"state->{name}"
        for placeholder, name in stage.inputs.items()
    }
    readers = {node.name for node in program.graph.nodes if node.users}
    for spec in program.graph_signature.input_specs:
        if not is_input(spec) and spec.arg.name in readers:
            place = str(spec.target)
            held = {**program.state_dict, **program.constants}[place]
            own = identifier(place.removeprefix("student."))
            shared = place in ("shift", "scale")
            name = f"ensemble_{place}" if shared else f"ensemble_stage_{stage.number}_{own}"
            pointers[spec.arg.name] = weights.add(name, held)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            pointers.setdefault(node.name, "0")  # nobody reads it
    config = ensemble.config.students[stage.number - 1]
    return StageFunction(program.graph, pointers, config, stage.number)


def _left(stage: TracedStage) -> dict[str, int]:
    """What a stage leaves to later ones, with sizes."""
    return dict.fromkeys(stage.graph.outputs[1:], stage.graph.student.features)


def _introduction(ensemble: Ensemble, weights: int, floats: int) -> str:
    return f"""\
/* A progressive ensemble of {len(ensemble)} students, for one example at a time.

   Written by bdistil {__version__}. C99, without malloc or an operating system; needs math.h.
   Include it in one source file. Constants: {4 * weights:,} bytes of weights. Memory: the state,
   {4 * floats:,} bytes, which may be static.

       static ensemble_state state;
       ensemble_begin(&state);
       for (int stage = 0; stage < ENSEMBLE_STAGES; stage++) {{
           ensemble_steps[stage](x, &state);      x: ENSEMBLE_INPUTS raw features
           ... state.logits: ENSEMBLE_OUTPUTS logits; stop when you like ...
       }}
*/
#ifndef BDISTIL_ENSEMBLE_H
#define BDISTIL_ENSEMBLE_H

#include <math.h>"""


def _facts(ensemble: Ensemble) -> Iterable[str]:
    config = ensemble.config
    shape = " x ".join(map(str, config.input_shape))
    yield (
        f"#define ENSEMBLE_STAGES {len(ensemble)}\n"
        f"#define ENSEMBLE_INPUTS {math.prod(config.input_shape)} /* {shape} */\n"
        f"#define ENSEMBLE_OUTPUTS {ensemble.outputs}"
    )
    yield (
        f"static const char ensemble_name[] = {string_literal(config.name)};\n"
        f"static const char ensemble_task[] = {string_literal(config.task)};\n"
        "/* Of model.safetensors, as config.json has it. */\n"
        f'static const char ensemble_weights_sha256[] = "{ensemble.weights_hash()}";'
    )
    outputs = "targets" if config.regression else "classes or labels"
    classes = array(
        "char *const ensemble_classes[ENSEMBLE_OUTPUTS]", map(string_literal, config.names)
    )
    yield f"/* Names of the {outputs}, in the order of the logits. */\n{classes}"
    temperatures = map(float_literal, config.temperatures)
    yield (
        "/* Logits of each stage are divided by it before softmax or sigmoid. */\n"
        + array("float ensemble_temperatures[ENSEMBLE_STAGES]", temperatures)
    )
    if config.costs is not None:
        costs = (f"{cost:.0f}.0" for cost in config.costs)
        yield (
            "/* FLOPs up to each stage. */\n"
            + array("double ensemble_flops[ENSEMBLE_STAGES]", costs)
        )


def _state(ensemble: Ensemble, kept: dict[str, int], scratch: int) -> str:
    fields = "".join(f"    float {name}[{size}];\n" for name, size in kept.items())
    return f"""\
/* What stages leave to one another. */
typedef struct {{
    float logits[ENSEMBLE_OUTPUTS]; /* F_t, after stage t */
{fields}    float scratch[{max(scratch, 1)}];
}} ensemble_state;

/* Before the first stage of each example. */
static inline void ensemble_begin(ensemble_state *state) {{
    for (long i = 0; i < ENSEMBLE_OUTPUTS; i++) state->logits[i] = 0.0f;
}}"""


def _kernels(called: set[str]) -> Iterable[str]:
    folder = resources.files("bdistil.export.c_code") / "kernels"
    for name, users in KERNELS.items():
        if ({name} | users) & called:
            yield (folder / f"{name}.c").read_text(encoding="utf-8").rstrip()


def _step(stage: TracedStage, function: StageFunction, kept: dict[str, int]) -> str:
    body = list(function.lines)
    sizes = {"logits": "ENSEMBLE_OUTPUTS"} | {k: str(size) for k, size in kept.items()}
    for name, result in zip(stage.graph.outputs, function.results, strict=True):
        field = name.removeprefix("next_")
        if field in sizes:
            body += [
                f"for (long i = 0; i < {sizes[field]}; i++)",
                f"    state->{field}[i] = {result}[i];",
            ]
    unread = [] if INPUT in stage.inputs.values() else ["(void)x;"]
    memory = ["float *const scratch = state->scratch;"] if function.scratch.size else []
    lines = "\n".join(f"    {line}" for line in [*unread, *memory, *body])
    config = stage.graph.student.config
    about = f"{config.kind}, width {config.width}, connection {config.connection}"
    return (
        f"/* Stage {stage.number}: {about.replace('*/', '')}. */\n"
        f"static inline void ensemble_stage_{stage.number}"
        f"(const float *x, ensemble_state *state) {{\n{lines}\n}}"
    )


def _steps(count: int) -> str:
    names = ",\n".join(f"    ensemble_stage_{number}" for number in range(1, count + 1))
    return (
        "/* All stages, first to last. */\n"
        "static void (*const ensemble_steps[ENSEMBLE_STAGES])(const float *, ensemble_state *) = "
        f"{{\n{names}\n}};\n\n#endif"
    )
