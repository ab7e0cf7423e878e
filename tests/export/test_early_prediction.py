"""Early prediction: what a network gets to see of a beginning, and what is made of it."""

from __future__ import annotations

import pytest
import torch
from small_ensembles import inputs, small_ensemble
from torch import nn

from bdistil.errors import DataError
from bdistil.export.early_prediction import FRACTIONS, beginnings, early_prediction


def sequences(*lengths: int, steps: int = 10) -> torch.Tensor:
    """Two features that count from 1; shorter sequences have -1 in front."""
    x = torch.full((len(lengths), steps, 2), -1.0)
    for row, length in zip(x, lengths, strict=True):
        row[steps - length :] = torch.arange(1.0, length + 1)[:, None]
    return x


PADDING = torch.tensor([-1.0, -1.0])


def test_unknown_steps_hold_the_training_mean_at_their_place() -> None:
    seen = beginnings(sequences(10), 0.3)[0, :, 0]
    assert seen.tolist() == [1, 2, 3, 0, 0, 0, 0, 0, 0, 0]


def test_cutting_leaves_them_out() -> None:
    assert beginnings(sequences(10), 0.7, cut=True)[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert beginnings(sequences(10), 0.01, cut=True).shape == (1, 1, 2)


def test_the_beginning_of_a_shorter_sequence_is_padded_as_a_shorter_one() -> None:
    seen = beginnings(sequences(10, 4, 1), 0.5, padding=PADDING)
    torch.testing.assert_close(seen, sequences(5, 2, 1))


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_beginnings_of_sequences_are_sequences_of_a_fraction_of_the_length(fraction: float) -> None:
    seen = beginnings(sequences(10), fraction, padding=PADDING)
    torch.testing.assert_close(seen, sequences(round(10 * fraction)))


def test_a_step_like_padding_inside_a_sequence_is_kept() -> None:
    x = sequences(6)
    x[0, 7] = PADDING
    seen = beginnings(x, 0.5, padding=PADDING)
    assert seen[0, :, 0].tolist() == [-1] * 7 + [1, 2, 3]


class Mean(nn.Module):
    """Says the class by the sign of the sum of what it sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.sum(dim=(1, 2))
        return torch.stack([-total, total], dim=1)


def test_the_whole_sequence_gives_the_metric_of_an_evaluation() -> None:
    for kind in ("gru", "cnn1d"):
        ensemble = small_ensemble((kind, 3, "dense", True), (kind, 4, "dense", True))
        x = ensemble.standardise(inputs(kind, 50))
        truth = torch.randint(3, (50,), generator=torch.Generator().manual_seed(0))
        (point,) = early_prediction(ensemble, x, truth, fractions=(1,))
        expected = [
            (ensemble.prefix(stage)(x).argmax(1) == truth).float().mean().item() for stage in (1, 2)
        ]
        assert point.stages == pytest.approx(expected)
        assert point.teacher is None


@pytest.mark.parametrize("kind", ["gru", "lstm", "fastgrnn", "cnn1d", "fcn", "spectrogram"])
def test_what_comes_later_changes_nothing(kind: str) -> None:
    ensemble = small_ensemble((kind, 3, "dense", True))
    x = ensemble.standardise(inputs(kind, 30))
    half = x.shape[1] // 2
    other = torch.cat([x[:, :half], torch.randn_like(x[:, half:])], dim=1)
    truth, fractions = torch.arange(30) % 3, (half / x.shape[1],)
    points = early_prediction(ensemble, x, truth, fractions=fractions)
    assert points == early_prediction(ensemble, other, truth, fractions=fractions)


def test_the_teacher_learns_the_sign_when_it_has_seen_it() -> None:
    ensemble = small_ensemble(("gru", 3, "dense", True), outputs=2)
    x = torch.zeros(40, 4, 3)
    x[:, 2] = torch.where(torch.arange(40) % 4 == 0, 1.0, -1.0)[:, None]
    truth = (torch.arange(40) % 4 == 0).long()
    points = early_prediction(ensemble, x, truth, fractions=(0.5, 0.75, 1), teacher_network=Mean())
    teacher = [point.teacher for point in points]
    assert teacher == [0.75, 1, 1]
    assert [point.fraction for point in points] == [0.5, 0.75, 1]


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1])
def test_fractions_outside_are_refused(fraction: float) -> None:
    ensemble = small_ensemble(("gru", 3, "dense", True))
    with pytest.raises(DataError, match=f"a fraction is {fraction:g}"):
        early_prediction(ensemble, inputs("gru"), torch.zeros(7).long(), fractions=(fraction,))


def test_images_are_refused() -> None:
    ensemble = small_ensemble(("cnn", 3, "dense", True))
    with pytest.raises(DataError, match=r"shape \(7, 1, 6, 6\)"):
        early_prediction(ensemble, inputs("cnn"), torch.zeros(7).long())
