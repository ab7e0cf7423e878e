"""A teacher's answers to changed copies: of what students see, kept copy by copy."""

from pathlib import Path

import numpy as np
import pytest
from own_teachers import OWN, answers, loaded, network, users_folder

from bdistil.core.tensors import as_tensor
from bdistil.core.views import ViewMaker
from bdistil.errors import CheckpointError, SpecError
from bdistil.searching.resolve import resolve
from bdistil.searching.views import view_makers
from bdistil.spec import load_spec
from bdistil.teachers import obtain, view_answers
from bdistil.teachers.obtain import obtain_teacher
from bdistil.teachers.teacher_store import VIEWS, TeacherStore

VIEW = {"copies": 3, "noise": 0.4, "mixup": 0.3}


@pytest.fixture(autouse=True)
def _in_the_users_folder(tmp_path, monkeypatch):
    users_folder(tmp_path, monkeypatch)


def taught(views=VIEW, store="teacher", **teacher):
    model = {"model": "code.py:network", "options": {"hidden": 5}, "inputs": "raw"} | OWN
    spec = {"data": {"path": "data.npz", "views": views}, "teacher": teacher or model}
    spec = load_spec(spec)
    dataset = loaded(spec)
    spec = resolve(spec, dataset)
    makers, store = view_makers(spec, dataset), TeacherStore(Path(store))
    return dataset, makers, store, obtain_teacher(store, dataset, spec, makers=makers)


def test_it_answers_about_the_very_copies_that_students_see():
    dataset, [maker], _, logits = taught()
    rule = dataset.standardisation
    inputs = as_tensor((dataset.train.x - rule.shift) / rule.scale)
    assert logits[VIEWS].shape == (3, len(dataset.train), 3)
    for copy, found in enumerate(logits[VIEWS]):
        seen = maker.make(inputs, slice(0, len(inputs)), copy).numpy()
        expected = answers(network(), seen * rule.scale + rule.shift)
        np.testing.assert_allclose(found, expected, atol=2e-2, rtol=2e-3)
    assert not np.array_equal(logits[VIEWS][0], logits[VIEWS][1])


def test_a_teacher_trained_here_answers_about_copies_too():
    dataset, *_, logits = taught(model="mlp", epochs=2)
    assert logits[VIEWS].shape == (3, len(dataset.train), 3)


def test_what_was_answered_before_a_crash_is_not_asked_again(monkeypatch):
    asked = []
    whole = view_answers.answers_to_copy

    def crash_at_two(*arguments):
        asked.append(arguments[3])
        if asked == [0, 1]:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(view_answers, "answers_to_copy", crash_at_two)
    with pytest.raises(KeyboardInterrupt):
        taught()
    *_, logits = taught()
    assert asked == [0, 1, 1, 2]
    *_, uninterrupted = taught(store="another")
    assert np.array_equal(logits[VIEWS], uninterrupted[VIEWS])


def test_kept_answers_to_other_copies_are_not_taken(monkeypatch):
    *_, store, _ = taught()
    store.card_file.unlink()  # as after a crash
    asked = []
    whole = view_answers.answers_to_copy
    monkeypatch.setattr(
        view_answers, "answers_to_copy", lambda *given: asked.append(given[3]) or whole(*given)
    )
    taught(VIEW | {"noise": 0.5})
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("damage", ["missing", "torn", "swapped"])
def test_damaged_answers_are_told(damage):
    *_, store, _ = taught()
    file = store.view_file(1)
    if damage == "missing":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(file.read_bytes()[:100])
    else:
        *_, other, _ = taught(VIEW | {"noise": 0.5}, store="other")
        file.write_bytes(other.view_file(1).read_bytes())
    with pytest.raises(CheckpointError, match=r"view-001\.safetensors is missing or damaged"):
        taught()


def test_without_views_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(obtain, "answer_views", None)
    for views in (None, False):
        *_, logits = taught(views, store=f"teacher-{views}")
        assert VIEWS not in logits


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (True, "no change is known to help; name some (noise, mixup)"),
        ({"crop": 2}, "data.views.crop changes image data, but these are tabular data"),
        ({"time_mask": 0.2}, "data.views.time_mask changes sequence data"),
        ({}, "data.views: change nothing; give one of crop"),
        ({"copies": 0, "noise": 0.1}, "data.views.copies"),
        ({"blur": 2}, "data.views.blur"),
    ],
)
def test_views_that_make_no_sense_are_refused(views, words):
    with pytest.raises(SpecError) as told:
        taught(views)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"teacher": {"model": "mlp", "crossfit": 2}}, "data.views and teacher.crossfit"),
        (
            {"teacher": {"columns": ["a", "b", "c"]}},
            "in the data are about the rows alone",
        ),
        ({"space": {"correction": "orthogonal"}}, "data.views.mixup mixes labels"),
    ],
)
def test_views_that_the_rest_of_a_search_contradicts_are_refused(settings, words):
    dataset = loaded(load_spec({"data": {"path": "data.npz"}}))
    spec = load_spec({"data": {"path": "data.npz", "views": VIEW}} | settings)
    with pytest.raises(SpecError, match=words):
        resolve(spec, dataset)


def test_no_more_copies_than_epochs_are_made():
    dataset = loaded(load_spec({"data": {"path": "data.npz"}}))
    spec = load_spec({"data": {"path": "data.npz", "views": VIEW}, "space": {"epochs": 2}})
    assert resolve(spec, dataset).data.views.copies == 2


def test_a_teacher_trained_here_sees_other_copies_in_each_epoch(monkeypatch):
    seen = []
    make = ViewMaker.make

    def watched(self, inputs, rows, copy, *scale):
        made = make(self, inputs, rows, copy, *scale)
        if not scale:  # the others are asked about, in raw units
            seen.append((self.first, self.settings.mixup, made, inputs[rows]))
        return made

    monkeypatch.setattr(ViewMaker, "make", watched)
    taught(model="mlp", epochs=3, batch_size=100)
    assert [epoch for epoch, *_ in seen] == [1, 2, 3]
    assert {mixup for _, mixup, *_ in seen} == {0.0}
    gaps = [(made - rows).std().item() for *_, made, rows in seen]
    assert gaps == pytest.approx([0.4] * 3, rel=0.2)
    assert not np.array_equal(seen[0][2], seen[1][2])


def test_a_teacher_trained_on_mixtures_alone_is_trained_on_the_rows(monkeypatch):
    dataset, *_, mixed = taught({"copies": 2, "mixup": 0.3}, model="mlp", epochs=2)
    *_, plain = taught(False, store="plain", model="mlp", epochs=2)
    assert len(dataset.train) == len(mixed["train"])
    np.testing.assert_array_equal(mixed["train"], plain["train"])
