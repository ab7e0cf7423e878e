"""Log-Mel bands of sound, as Microsoft's EdgeML computes them for Google-13.

Pre-emphasis, Hamming windows of 25 ms every 10 ms, power, 32 Mel bands, log.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.optional import require

BANDS = 32
LEAST_TRANSFORM = 256  # at low rates, so that no band is empty
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010


def window_samples(rate: int) -> int:
    """Samples of a window at a rate in Hz."""
    return round(WINDOW_SECONDS * rate)


def hop_samples(rate: int) -> int:
    """Samples from one window to the next."""
    return round(HOP_SECONDS * rate)


def frames_of(samples: int, rate: int) -> int:
    """Windows that fit into so many samples, at least one."""
    return 1 + max(0, samples - window_samples(rate)) // hop_samples(rate)


def log_mel(
    waves: NDArray[Any], rate: int, frames: int, least_energy: float
) -> NDArray[np.float32]:
    """Log-Mel bands (N, frames, 32), float32, of recordings (N, samples).

    Args:
        waves: on the scale of 16 bits.
        rate: samples a second.
        frames: windows to look at; silence follows where the recordings end before them.
        least_energy: added to every band's energy, so that silence has a logarithm.

    Raises:
        MissingDependencyError: if torchaudio is not installed.
    """
    torch = require("torch", "audio")
    sound = torch.from_numpy(waves).float()
    sound[:, 1:] -= 0.97 * sound[:, :-1].clone()
    window, mel = _window_and_filters(rate)
    hop, size = hop_samples(rate), 2 * (len(mel) - 1)
    missing = (frames - 1) * hop + len(window) - sound.shape[1]
    sound = torch.nn.functional.pad(sound, (0, max(0, missing)))
    windows = sound.unfold(1, len(window), hop)[:, :frames]
    power = torch.fft.rfft(windows * window, size).abs().square() / size
    bands: NDArray[np.float32] = (power @ mel + least_energy).log().numpy()
    return bands


@cache
def _window_and_filters(rate: int) -> tuple[Any, Any]:
    torch, functional = require("torch", "audio"), require("torchaudio.functional", "audio")
    window = torch.hamming_window(window_samples(rate), periodic=False)
    size = max(LEAST_TRANSFORM, 2 ** math.ceil(math.log2(len(window))))
    return window, functional.melscale_fbanks(size // 2 + 1, 0.0, rate / 2, BANDS, rate)
