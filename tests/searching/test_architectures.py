"""Architecture as dimensions: options of classes, ladders of classes, widths that cost the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_sampling import play
from test_workbench import request, workbench
from tiny import students, tiny, winners

import bdistil
from bdistil.cluster.launch import launch_search
from bdistil.core.growth import folded_flops
from bdistil.data.dataset import Dataset
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import SpecError
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialResult
from bdistil.searching.resolve import resolve
from bdistil.searching.sampling import build_sampler
from bdistil.spec import Spec, load_spec
from bdistil.spec.reference import schema

OPTIONS = "space.options={mlp: {depth: [1, 2], activation: [gelu, tanh]}}"
IMAGES = (3, 16, 16)


def spec_of(**space: Any) -> Spec:
    return load_spec({"data": {"name": "digits"}, "space": {"recipe": "accurate"} | space})


SEVERAL = spec_of(
    student=["cnn", "convnet", "mlp"],
    lr={"low": 0.01, "high": 0.1},
    options={"convnet": {"kernel": [3, 5], "cells": 4}, "mlp": {"depth": [1, 2, 3]}},
)


@pytest.mark.parametrize("algorithm", ["tpe", "random", "gp"])
def test_options_are_sampled_of_the_class_that_was_drawn(algorithm: str) -> None:
    search = SEVERAL.search.model_copy(update={"algorithm": algorithm})
    spec, history = SEVERAL.model_copy(update={"search": search}), []
    play(build_sampler(spec, lambda: history), history, range(1, 6))
    own = {"cnn": set(), "convnet": {"convnet.kernel"}, "mlp": {"mlp.depth"}}
    seen = set()
    for result in history:
        params = result.request.params
        assert {name for name in params if "." in name} == own[params["student"]]
        seen |= {(name, params[name]) for name in params if "." in name}
    all_ = {("convnet.kernel", kernel) for kernel in (3, 5)}
    all_ |= {("mlp.depth", depth) for depth in (1, 2, 3)}
    assert seen <= all_
    assert len(seen) > 2
    assert algorithm == "random" or seen == all_  # others try each choice first


def test_a_resumed_search_samples_the_same_architectures() -> None:
    whole: list[TrialResult] = []
    play(build_sampler(SEVERAL, lambda: whole), whole, range(1, 6))
    resumed: list[TrialResult] = []
    play(build_sampler(SEVERAL, lambda: resumed), resumed, range(1, 3))
    play(build_sampler(SEVERAL, lambda: resumed), resumed, range(3, 6))
    assert [r.request.params for r in resumed] == [r.request.params for r in whole]


def test_members_of_a_cohort_are_of_one_architecture() -> None:
    sampler = build_sampler(SEVERAL, list)
    sampler.open_round(2)
    for number in range(0, 30, 3):
        first = sampler.ask(2, number)
        for member in (sampler.ask(2, number + each, first) for each in (1, 2)):
            assert {k: v for k, v in member.items() if k != "lr"} == {
                k: v for k, v in first.items() if k != "lr"
            }


def test_the_grid_visits_every_architecture() -> None:
    spec = load_spec(
        {
            "data": {"name": "digits"},
            "space": {
                "student": ["cnn", "mlp"],
                "options": {"mlp": {"depth": [1, 2], "activation": ["gelu", "relu"]}},
            },
            "search": {"algorithm": "grid"},
        }
    )
    sampler = build_sampler(spec, list)
    asked = [sampler.ask(1, number) for number in range(8)]
    mlps = {(p["mlp.depth"], p["mlp.activation"]) for p in asked if p["student"] == "mlp"}
    assert mlps == {(1, "gelu"), (1, "relu"), (2, "gelu"), (2, "relu")}
    assert all("mlp.depth" not in params for params in asked if params["student"] == "cnn")


def test_a_rung_that_names_its_class_has_that_class_and_its_options() -> None:
    spec = spec_of(ladder=[{"mlp": 4}, {"mlp": 8}, {"cnn": 3}], options={"mlp": {"depth": [1, 2]}})
    sampler = build_sampler(spec, list)
    sampler.open_round(1)
    for rung, (kind, _) in enumerate(spec.space.rungs):
        params = sampler.ask(1, rung, None, rung)
        assert params["student"] == kind
        assert ("mlp.depth" in params) == (kind == "mlp")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("convnet", {"kernel": 5}),
        ("convnet", {"depth": 4, "cells": 2}),
        ("separable", {"depth": 4}),
        ("mlp", {"depth": 3}),
        ("inverted", {"expansion": 6}),
    ],
)
def test_other_architectures_are_as_wide_as_the_same_cost_allows(
    kind: str, options: dict[str, Any]
) -> None:
    space = (
        f"space={{recipe: accurate, student: {kind}, ladder: [20], options: {{{kind}: {options}}}}}"
    )
    bench = workbench(space, shape=IMAGES)
    plain = workbench(f"space={{recipe: accurate, student: {kind}, ladder: [20]}}", shape=IMAGES)

    def cost(student: Any) -> int:
        return folded_flops(student, IMAGES, ())

    ask = request(student=kind)
    expected = cost(plain.candidates.draw(ask, ask.recipe()))
    student = bench.candidates.draw(ask, ask.recipe())
    assert student.config.kind.startswith(f"{kind}(")
    assert cost(student) <= expected
    wider = bench.candidates.config(student.config.kind, student.config.width + 1, ask.recipe())
    assert cost(bench.candidates.build(wider)) > expected


def test_a_rungs_class_grows_in_proportion_to_what_it_costs() -> None:
    """Stage 2 leaves room for as much again; a rung's share of it is that of its first student."""
    bench = workbench(
        "space={recipe: accurate, ladder: [{mlp: 4}, {cnn: 8}], growth: 2}", shape=IMAGES
    )
    recipe = replace(request().recipe(), connection="none", growth=2.0)
    ask = [request(student=kind, rung=rung) for rung, kind in enumerate(("mlp", "cnn"))]
    first = [bench.candidates.draw(each, recipe) for each in ask]
    assert [student.config.width for student in first] == [4, 8]
    costs = [folded_flops(student, IMAGES, ()) for student in first]
    bench.ensemble.append(first[0])
    for each, share in zip(ask, (1, costs[1] / costs[0]), strict=True):
        room = costs[0] * share
        student = bench.candidates.draw(each, recipe)
        wider = bench.candidates.config(student.config.kind, student.config.width + 1, recipe)
        features = bench.ensemble.features
        assert folded_flops(student, IMAGES, features) <= room
        assert folded_flops(bench.candidates.build(wider), IMAGES, features) > room


def test_a_search_over_architectures_and_classes_is_kept_and_goes_on(tmp_path: Path) -> None:
    source = tiny("workers.count=0", OPTIONS).model_dump(mode="json")
    source["space"] |= {"student": "auto", "ladder": [{"mlp": 3}, {"mlp": 6}]}
    spec = load_spec(source)
    run = launch_search(spec, tmp_path / "run").run
    drawn = {
        tuple(t.request.params[f"mlp.{name}"] for name in ("depth", "activation"))
        for record in run.journal.read()
        for t in record.trials
    }
    assert len(drawn) > 1
    ensemble = bdistil.Ensemble.from_pretrained(run.path)
    assert len(ensemble) == len(run.journal.read())
    lines = run.journal.path.read_text().splitlines(keepends=True)
    expected = winners(run.path), students(run.path)
    run.journal.path.write_text("".join(lines[:1]))
    launch_search(spec, run.path)
    again = RunDirectory(run.path)
    assert (winners(again.path), students(again.path)) == expected


def digits() -> Dataset:
    return load_dataset(spec_of().data, 0)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"options": {"gru": {"layers": 2}}}, "space.options is about student 'gru', which"),
        ({"options": {"cnn": {"kernel": 3}}}, "student 'cnn' has no option 'kernel'"),
        (
            {"student": "convnet", "options": {"convnet": {"kernel": [3, 4]}}},
            "space.options.convnet.kernel is 4",
        ),
        ({"ladder": [{"cnn": 4, "mlp": 4}]}, "each class is one student class and its width"),
        ({"ladder": [{"cnn": 4}, {"cnn": 4}]}, "widths must be positive and growing"),
        ({"ladder": [{"cnn": 4}], "student": "mlp"}, "names student classes already"),
        ({"ladder": [{"cnn": 4}, 8]}, "space.ladder"),
        ({"ladder": [{"gru": 4}]}, "student 'gru' takes inputs of shape"),
        ({"options": {"cnn": {"kernel": []}}}, "space.options.cnn.kernel"),
    ],
)
def test_architectures_that_make_no_sense_are_refused(space: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as told:
        resolve(spec_of(**space), digits())
    assert words in str(told.value)


def test_the_schema_knows_ladders_and_options() -> None:
    fields = json.loads(schema())["$defs"]["SpaceSpec"]["properties"]
    assert {"type": "array", "items": {"type": "integer"}}.items() <= fields["ladder"]["anyOf"][
        0
    ].items()
    assert fields["ladder"]["anyOf"][1]["items"]["additionalProperties"] == {"type": "integer"}
    assert "candidates of a stage cost the same" in " ".join(
        fields["options"]["description"].split()
    )


def test_every_rung_has_its_own_trials() -> None:
    spec = resolve(spec_of(ladder=[{"mlp": 4}, {"cnn": 3}, {"cnn": 6}]), digits())
    assert spec.search.most_trials(len(spec.space.ladder)) >= 3 * spec.search.tries
    assert spec.space.rungs == [("mlp", 4), ("cnn", 3), ("cnn", 6)]
