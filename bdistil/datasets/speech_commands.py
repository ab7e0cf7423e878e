"""Google-13: twelve words of Speech Commands against all others, as log-Mel bands.

The preprocessing is that of Microsoft's EdgeML, from which the papers on Google-13 take it:
16-bit samples, silence in front of shorter recordings, log-Mel bands. `_background_noise_` holds
recordings of minutes without a word and is left out there as here.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdistil.data.assemble import from_splits
from bdistil.data.dataset import Dataset, Split
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import LocalFiles
from bdistil.errors import DataError
from bdistil.files.log_mel import BANDS, log_mel
from bdistil.optional import advice_if_missing

RATE = 16_000
FRAMES = 99
LEAST_ENERGY = 1e-10
BATCH = 64  # fits the cache: a third faster than 512
WORDS = ("go", "no", "on", "up", "bed", "cat", "dog", "off", "one", "six", "two", "yes")
NOISE = "_background_noise_"

SPEECH_COMMANDS = LocalFiles(
    "Google-13",
    folder="speech_commands_v0.01",
    landmark="testing_list.txt",
    download="http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz and unpack it",
    elsewhere=("SpeechCommands/speech_commands_v0.01",),
)


def _advice() -> str | None:
    return SPEECH_COMMANDS.advice() or advice_if_missing("torchaudio", "audio")


@register_dataset(
    "google13",
    domain="sequence",
    input_shape=(FRAMES, BANDS),
    classes=13,
    examples=64_721,
    published_test=True,
    source="Speech Commands: 12 words and any other, 99 frames of 32 log-Mel bands",
    advice=_advice,
)
def google13(seed: int, validation: float, test: float, root: Path | None = None) -> Dataset:
    """Spoken words of one second; the publishers' lists decide on validation and test.

    No speaker stands in two splits, so the lists are kept whatever the seed and the shares.

    Args:
        seed: not used.
        validation: not used.
        test: not used.
        root: folder of local data; `speech_commands_v0.01` is looked for there.
    """
    folder = SPEECH_COMMANDS.required(root)
    lists = {part: _listed(folder, part) for part in ("validation", "testing")}
    listed = {name for names in lists.values() for name in names}
    train = [name for name in _recordings(folder) if name not in listed]
    if not train:
        raise DataError(f"{folder} has no recordings beside the listed ones; unpack it again.")
    return from_splits(
        "google13",
        "sequence",
        train=_split(folder, train),
        validation=_split(folder, lists["validation"]),
        test=_split(folder, lists["testing"]),
        class_names=("other", *WORDS),
        padding=float(np.log(LEAST_ENERGY)),
    )


def read_wave(path: Path) -> NDArray[np.int16]:
    """One second of 16-bit samples, int16 (16000,); a shorter recording gets silence in front.

    Raises:
        DataError: if the file is damaged, of another format or longer.
    """
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            content = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error):
        raise DataError(f"{path} is no readable WAV file; unpack the data again.") from None
    if form != (1, 2, RATE) or not 0 < len(content) <= 2 * RATE:
        raise DataError(
            f"{path} has {form[0]} channels of {8 * form[1]} bits at {form[2]} Hz and "
            f"{len(content)} bytes; one second of one channel, 16 bits at {RATE} Hz is expected."
        )
    samples = np.zeros(RATE, np.int16)
    samples[RATE - len(content) // 2 :] = np.frombuffer(content, "<i2")
    return samples


def _listed(folder: Path, part: str) -> list[str]:
    path = folder / f"{part}_list.txt"
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        names = []
    if not names:
        raise DataError(f"{path} is missing or empty; unpack the data again.")
    return names


def _recordings(folder: Path) -> list[str]:
    return sorted(
        f"{file.parent.name}/{file.name}"
        for file in folder.glob("*/*.wav")
        if file.parent.name != NOISE
    )


def _split(folder: Path, names: Sequence[str]) -> Split:
    codes = {word: code for code, word in enumerate(WORDS, start=1)}
    y = np.array([codes.get(name.partition("/")[0], 0) for name in names], np.int64)
    return Split(_features(folder, names), y)


def _features(folder: Path, names: Sequence[str]) -> NDArray[np.float32]:
    x = np.empty((len(names), FRAMES, BANDS), np.float32)
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        waves = np.stack([read_wave(folder / name) for name in batch])
        x[start : start + BATCH] = log_mel(waves, RATE, FRAMES, LEAST_ENERGY)
    return x
