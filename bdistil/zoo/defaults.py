"""The student and the teacher that ``auto`` stands for."""

from __future__ import annotations

from bdistil.names import Domain

_DEFAULTS: dict[Domain, str] = {"tabular": "mlp", "image": "cnn", "sequence": "fcn"}
_RECORDINGS = "spectrogram"
_PHOTOGRAPH_SIDE = 16  # pixels, from which on convolutions see what patches miss
_PHOTOGRAPHS, _GREY_PHOTOGRAPHS = "convnet", "convnet(activation=relu)"


def default_student(domain: Domain, input_shape: tuple[int, ...], is_recorded: bool = False) -> str:
    """The student class that ``student: auto`` stands for.

    Students of recordings slide over frequencies, too, as their teachers do: they hear new speakers
    better in the same time (results/2026-11-29-spoken).

    Of photographs two layers of convolutions see four points more than patches at the same cost;
    of grey ones, which lose nothing by it, with the cheaper activation
    (results/2026-11-29-photographs, results/2026-11-30-activations).
    """
    if domain == "image" and min(input_shape[1:]) >= _PHOTOGRAPH_SIDE:
        return _PHOTOGRAPHS if input_shape[0] == 3 else _GREY_PHOTOGRAPHS
    return _RECORDINGS if is_recorded else _DEFAULTS[domain]


def default_teacher(domain: Domain, is_recorded: bool = False) -> str:
    """The teacher that ``model: auto`` stands for: of recordings one that hears new speakers."""
    return _RECORDINGS if is_recorded else _DEFAULTS[domain]
