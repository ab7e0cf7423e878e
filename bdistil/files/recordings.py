"""Recordings of any rate and length as log-Mel bands of one length."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from io import SEEK_END, BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError
from bdistil.files.encoded import Encoded, Form, Medium
from bdistil.files.log_mel import BANDS, frames_of, log_mel, window_samples
from bdistil.optional import require
from bdistil.spec import DataSpec

HIGHEST_RATE = 16_000
USUAL = 0.95
"""Share of the recordings that are not cut by default."""
LOUDNESS = 0.1 * 2**15
"""Root mean square of every recording, on the scale of 16 bits."""
QUIETEST = 1e-4  # of full scale; what is quieter is silence and stays so
UNKNOWN = 0x7FFFF000  # bytes: what writes into a pipe cannot know the length
LEAST_ENERGY = 100.0
"""A floor well below what is heard at that loudness; with 1 a network attends to hiss."""


class Extent(NamedTuple):
    """Length in samples and samples a second."""

    samples: int
    rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate


class RecordingForm(Form):
    """The one length of all recordings, float32 (frames, bands).

    Attributes:
        rate: samples a second, to which recordings are resampled.
        samples: of which the frames are made.
    """

    rate: int
    samples: int


def _open(file: Encoded) -> Any:
    soundfile = require("soundfile", "audio")
    try:
        _refuse_half(file)
        return soundfile.SoundFile(file)
    except (OSError, RuntimeError):
        raise DataError("no sound that libsndfile reads") from None


def _refuse_half(file: Encoded) -> None:
    """Refuse a WAV file that ends before its sound does: libsndfile reads what there is.

    Raises:
        DataError: saying how much there is.
    """
    with nullcontext(file) if isinstance(file, BytesIO) else file.open("rb") as content:
        size = content.seek(0, SEEK_END)
        content.seek(0)
        head = content.read(12)
        at = 12
        while head[:4] == b"RIFF" and head[8:] == b"WAVE" and at + 8 <= size:
            name, length = struct.unpack("<4sI", content.read(8))
            if name == b"data":
                if size - at - 8 < length < UNKNOWN:
                    raise DataError(
                        f"it ends after {size - at - 8:,} of its {length:,} bytes of sound"
                    )
                break
            at += 8 + length + length % 2
            content.seek(at)
        content.seek(0)


def read_extent(file: Encoded) -> Extent:
    """The length of a recording, from its header.

    Raises:
        DataError: if it is no recording, or empty.
    """
    with _open(file) as sound:
        if not sound.frames:
            raise DataError("it has no sound")
        return Extent(sound.frames, sound.samplerate)


def choose_form(extents: Sequence[Extent], spec: DataSpec) -> RecordingForm:
    """The form of all recordings: `data.seconds`, or a length that 95% of them do not exceed."""
    rates = Counter(extent.rate for extent in extents)
    rate = min(HIGHEST_RATE, rates.most_common(1)[0][0])
    lengths = np.array([extent.seconds for extent in extents])
    usual = math.ceil(100 * np.quantile(lengths, USUAL, method="inverted_cdf")) / 100
    seconds = spec.seconds or usual
    samples = max(round(seconds * rate), window_samples(rate))
    longer = int((lengths > samples / rate).sum())
    said = (
        f"recordings: {lengths.min():.3g} to {lengths.max():.3g} s at "
        f"{', '.join(f'{rate:,}' for rate in sorted(rates))} Hz, as {BANDS} log-Mel bands of "
        f"{rate:,} Hz every 10 ms, equally loud; silence in front of what is shorter than "
        f"{seconds:g} s (data.seconds), {longer:,} cut at the end"
    )
    shape = (frames_of(samples, rate), BANDS)
    silence = float(np.float32(math.log(LEAST_ENERGY)))
    return RecordingForm(shape=shape, said=said, padding=silence, rate=rate, samples=samples)


def decode_recording(file: Encoded, form: RecordingForm) -> NDArray[np.float32]:
    """Log-Mel bands, float32 (frames, bands); silent frames stand in front of a shorter recording.

    Raises:
        DataError: if it is damaged.
    """
    with _open(file) as sound:
        try:
            channels = sound.read(dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise DataError(str(error)) from None
        rate = sound.samplerate
    wave = resampled(channels.mean(axis=1), rate, form.rate)[: form.samples]
    if not np.isfinite(wave).all():
        raise DataError("it holds samples that are no numbers")
    own = frames_of(len(wave), form.rate)
    gain = LOUDNESS / max(float(np.sqrt(np.square(wave).mean())), QUIETEST)
    bands = log_mel(gain * wave[None], form.rate, own, LEAST_ENERGY)[0]
    silence = np.full((form.shape[0] - own, BANDS), form.padding, np.float32)
    return np.concatenate([silence, bands])


def resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Samples (n,) at another rate, both in Hz."""
    if rate == wanted:
        return wave
    torch = require("torch", "audio")
    converted: NDArray[np.float32] = _resampler(rate, wanted)(torch.from_numpy(wave)).numpy()
    return converted


@cache
def _resampler(rate: int, wanted: int) -> Any:
    return require("torchaudio.transforms", "audio").Resample(rate, wanted)


RECORDINGS = Medium(
    noun="recording",
    domain="sequence",
    suffixes=(".wav", ".flac", ".mp3", ".ogg", ".opus"),
    magic=rb"RIFF....WAVE|fLaC|ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]|OggS",
    key="seconds",
    dtype=np.float32,
    form=RecordingForm,
    header=read_extent,
    choose=choose_form,
    decode=decode_recording,
)
