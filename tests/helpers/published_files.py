"""Small data sets in the formats in which their publishers ship them."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import wave
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_fashion_mnist(folder: Path, packed: bool = True, train: int = 40, test: int = 20) -> None:
    folder.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        labels = np.arange(count) % 10
        images = np.zeros((count, 28, 28), np.uint8)
        images[np.arange(count), labels, 3] = 200 + np.arange(count) % 50
        for name, array in (
            (f"{part}-images-idx3-ubyte", images),
            (f"{part}-labels-idx1-ubyte", labels),
        ):
            content = idx(array)
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)


def cifar_rows(labels: np.ndarray, coarse: bool = False) -> bytes:
    """Red says the label, green the row within the image, blue the column."""
    images = np.zeros((len(labels), 3, 32, 32), np.uint8)
    images[:, 0] = labels[:, None, None]
    images[:, 1] = np.arange(32)[:, None]
    images[:, 2] = np.arange(32)
    columns = [labels[:, None] // 5, labels[:, None]] if coarse else [labels[:, None]]
    return np.hstack([*columns, images.reshape(len(labels), -1)]).astype(np.uint8).tobytes()


def write_cifar10(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(cifar_rows(np.arange(20) % 10))
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    (folder / "batches.meta.txt").write_text("\n".join(names.split()) + "\n\n")


def write_cifar100(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "train.bin").write_bytes(cifar_rows(np.arange(300) % 100, coarse=True))
    (folder / "test.bin").write_bytes(cifar_rows(np.arange(100), coarse=True))
    (folder / "fine_label_names.txt").write_text("\n".join(f"thing_{n}" for n in range(100)) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(f"kind_{n}" for n in range(20)) + "\n")


def write_photograph(
    path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, quality=95)


COLOURS = {"n01440764": (250, 0, 0), "n02123045": (0, 250, 0), "n03000000": (0, 0, 250)}


def write_tiny_imagenet(folder: Path) -> None:
    lines = []
    for wnid, colour in COLOURS.items():
        for number in range(6):
            write_photograph(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", colour)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    for number, wnid in enumerate(sorted(COLOURS, reverse=True)):
        write_photograph(folder / "val" / "images" / f"val_{number}.JPEG", COLOURS[wnid])
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))


def write_imagenet(folder: Path) -> None:
    for part, count in (("train", 5), ("val", 2)):
        for wnid, colour in COLOURS.items():
            for number in range(count):
                path = folder / part / wnid / f"{wnid}_{number}.JPEG"
                write_photograph(path, colour, size=(90, 60 + number))


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def tone(hertz: float, samples: int = 16_000) -> np.ndarray:
    return 8000 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000)


def write_speech_commands(folder: Path) -> None:
    for word, hertz in (("yes", 500), ("go", 2000), ("bird", 5000)):
        for speaker in range(5):
            write_wav(folder / word / f"{speaker:08x}_nohash_0.wav", tone(hertz))
    write_wav(folder / "_background_noise_" / "white_noise.wav", RNG.normal(0, 300, 64_000))
    words = ("yes", "go", "bird")
    for part, speaker in (("validation", 3), ("testing", 4)):
        lines = [f"{word}/{speaker:08x}_nohash_0.wav\n" for word in words]
        (folder / f"{part}_list.txt").write_text("".join(lines))


def write_dsa(folder: Path, segments: int = 2) -> None:
    for activity in range(1, 20):
        for person in range(1, 9):
            for segment in range(1, segments + 1):
                path = folder / f"a{activity:02d}" / f"p{person}" / f"s{segment:02d}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                row = ",".join([f"{activity:.4f}", f"{person:.3f}", f"{segment}", *["-0.5"] * 42])
                path.write_text("\n".join([row] * 125) + "\n")


def series(rows: list[tuple[list[list[float]], str]], labels: str) -> str:
    lines = [
        "#A comment: with a colon",
        "@problemName Small",
        "@timeStamps false",
        "@univariate false",
        f"@classLabel true {labels}",
        "@data",
    ]
    for channels, label in rows:
        lines.append(":".join([*(",".join(map(str, values)) for values in channels), label]))
    return "\n".join(lines) + "\n"


def write_japanese_vowels(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part, count in (("TRAIN", 36), ("TEST", 18)):
        rows = [
            ([[channel + row / 100] * (7 + row % 23) for channel in range(1, 13)], str(1 + row % 9))
            for row in range(count)
        ]
        text = series(rows, "1 2 3 4 5 6 7 8 9")
        (folder / f"JapaneseVowels_{part}.ts").write_text(text)


MAGIC_FEATURES = ["fLength", "fWidth", "fSize", "fConc", "fConc1"]
MAGIC_FEATURES += ["fAsym", "fM3Long", "fM3Trans", "fAlpha", "fDist"]
MAGIC_COLUMNS = {
    "ID": "numeric",
    **{f"{name}:": "numeric" for name in MAGIC_FEATURES},
    "class:": "nominal",
}


def magic_arff(examples: int) -> str:
    types = {"numeric": "REAL", "nominal": "{g,h}"}
    lines = ["@RELATION MagicTelescope"]
    lines += [f"@ATTRIBUTE '{name}' {types[kind]}" for name, kind in MAGIC_COLUMNS.items()]
    lines += ["@DATA"]
    for row in range(examples):
        values = [row + 1, *(row + column / 16 for column in range(10)), "gh"[row % 2]]
        lines.append(",".join(map(str, values)))
    return "\n".join(lines)


def magic_features() -> list[dict[str, object]]:
    common = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    return [
        common
        | {"index": str(index), "name": name, "data_type": kind}
        | {"is_target": "true" if name == "class:" else "false"}
        for index, (name, kind) in enumerate(MAGIC_COLUMNS.items())
    ]


def write_magic(root: Path, examples: int = 30) -> None:
    """OpenML's answers as scikit-learn keeps them."""
    arff = magic_arff(examples)
    description = {
        "id": "1120",
        "name": "MagicTelescope",
        "version": "1",
        "format": "ARFF",
        "status": "active",
        "description": "",
        "url": "https://api.openml.org/data/v1/download/53994/MagicTelescope.arff",
        "md5_checksum": hashlib.md5(arff.encode()).hexdigest(),
        "default_target_attribute": "class:",
    }
    qualities = [{"name": "NumberOfInstances", "value": str(examples)}]
    api = {
        "1120": {"data_set_description": description},
        "features/1120": {"data_features": {"feature": magic_features()}},
        "qualities/1120": {"data_qualities": {"quality": qualities}},
    }
    answers = {f"api/v1/json/data/{name}": json.dumps(answer) for name, answer in api.items()}
    answers["data/v1/download/53994/MagicTelescope.arff"] = arff
    for name, text in answers.items():
        path = root / "openml" / "openml.org" / f"{name}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))
