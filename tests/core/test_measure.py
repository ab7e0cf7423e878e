"""The measure by which candidates are compared."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, r2_score
from tiny_students import cut, random_array, toy_examples
from torch.nn import functional

from bdistil.core.examples import Examples, Measure, metric, reference


def unbalanced(task, labelled, seed=0):
    teacher = random_array(seed, 60, 3) + np.float32([0, 1, -2])
    targets = random_array(seed + 1, 60, 3) + np.float32([3, 0, 1])
    classes = np.random.default_rng(seed).choice(3, p=[0.7, 0.2, 0.1], size=60)
    labels = torch.from_numpy(targets if task == "regression" else classes)
    if task == "multilabel":
        labels = torch.from_numpy((targets > 1).astype(np.float32))
    x, g = torch.zeros(60, 1), torch.from_numpy(teacher)
    return Examples.before_round_one(x, g, labels if labelled else None)


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_no_constant_is_better_than_the_best(task, labelled, share):
    train, measure = unbalanced(task, labelled), Measure(task, share)
    ours = measure.best_constant([train])

    found = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([found], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        constant = found.expand_as(train.teacher_logits)
        teacher, labels = train.teacher_logits, train.labels
        weight = share if labelled else 0.0
        if task == "regression":
            loss = (1 - weight) * (constant - teacher).square().mean()
            if labelled:
                loss = loss + weight * (constant - labels).square().mean()
        elif task == "multilabel":
            p, entropy = teacher.sigmoid(), functional.binary_cross_entropy_with_logits
            loss = (1 - weight) * (entropy(constant, p) - entropy(teacher, p))
            if labelled:
                loss = loss + weight * entropy(constant, labels)
        else:
            log_q, p = constant.log_softmax(1), teacher.softmax(1)
            loss = (1 - weight) * (p * (p.log() - log_q)).sum(1).mean()
            if labelled:
                loss = loss - weight * log_q[range(60), labels].mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    least = closure().item()
    assert measure.loss(ours.expand_as(train.teacher_logits), train) == pytest.approx(
        least, abs=1e-4
    )
    shift = 0.0 if task != "classification" else ours.mean() - found.mean()
    torch.testing.assert_close(ours - shift, found.detach(), rtol=0, atol=1e-2)


def test_a_class_that_never_occurs_keeps_the_best_constant_finite():
    train = unbalanced("classification", True)
    train = dataclasses.replace(train, labels=torch.zeros(60, dtype=torch.int64))
    constant = Measure("classification", 1.0).best_constant([train])
    assert torch.isfinite(constant).all()
    assert constant.argmax() == 0


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("labelled", [False, True])
def test_parts_of_unequal_size_have_the_best_constant_of_the_whole(task, labelled):
    train, measure = unbalanced(task, labelled), Measure(task, 0.6)
    parts = cut(train, [7, 1, 52])
    torch.testing.assert_close(measure.best_constant(parts), measure.best_constant([train]))


def test_the_metric_is_accuracy_or_the_coefficient_of_determination():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 1.0]])
    assert metric(logits, torch.tensor([0, 1, 1, 0]), "classification") == 0.75
    truth = torch.from_numpy(random_array(0, 50, 2)) + torch.tensor([5.0, -5.0])
    assert metric(truth, truth, "regression") == 1
    means = truth.mean(dim=0).expand_as(truth)
    assert metric(means, truth, "regression") == pytest.approx(0, abs=1e-6)
    half = (truth + means) / 2
    assert metric(half, truth, "regression") == pytest.approx(0.75)


def test_units_of_a_target_do_not_matter_to_the_metric():
    truth = random_array(0, 50, 2) * np.float32([1, 1000])
    answers = truth + random_array(1, 50, 2) * np.float32([0.3, 900])
    ours = metric(torch.from_numpy(answers), torch.from_numpy(truth), "regression")
    assert ours == pytest.approx(r2_score(truth, answers, multioutput="uniform_average"), abs=1e-6)


def test_predictions_are_held_against_labels_or_else_the_teacher():
    examples = toy_examples(20)
    changed = dataclasses.replace(examples, labels=(examples.labels + 1) % 3)
    assert torch.equal(reference(changed, "classification"), changed.labels)
    blind = dataclasses.replace(examples, labels=None)
    assert torch.equal(reference(blind, "classification"), examples.teacher_logits.argmax(dim=1))
    assert torch.equal(reference(blind, "regression"), examples.teacher_logits)
    assert Measure("classification", 0.0).accuracy(examples.teacher_logits, blind) == 1
    assert Measure("classification", 0.0).accuracy(examples.teacher_logits, changed) == 0


def test_the_metric_of_labels_is_micro_f1():
    logits = torch.from_numpy(random_array(0, 50, 4))
    truth = torch.from_numpy((random_array(1, 50, 4) > 0.7).astype(np.float32))
    expected = f1_score(truth.numpy(), (logits > 0).numpy(), average="micro")
    assert metric(logits, truth, "multilabel") == pytest.approx(expected)
    assert metric(truth - 0.5, truth, "multilabel") == 1
    none = torch.zeros(5, 4)
    assert metric(none - 1, none, "multilabel") == 1
    assert metric(none + 1, none, "multilabel") == 0


def test_without_labels_the_teachers_answers_are_the_reference():
    examples = unbalanced("multilabel", False)
    assert Measure("multilabel", 0.0).accuracy(examples.teacher_logits, examples) == 1
    assert metric(-examples.teacher_logits, reference(examples, "multilabel"), "multilabel") == 0
