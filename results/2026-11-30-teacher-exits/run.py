# ruff: noqa: D102, D103
"""Exits attached to the teacher itself, on its frozen features: accuracy and time of each.

    python run.py play --data DATA --work WORK     features and heads; skips what WORK holds
    python run.py time --work WORK                 on a quiet machine: seconds in onnxruntime
    python run.py tell --work WORK                 exits.csv and a table

DATA holds `cifar10_photographs.parquet` as ../2026-11-29-clock/run.py makes it, and
`cifar10_resnet56.safetensors`. Needs bdistil[search,onnx].
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "examples"))
from cifar_resnet import ResNet, resnet56  # noqa: E402

AFTER = (4, 8, 12, 16, 20, 24)  # of 27 blocks: about 15%, 30%, ... of the FLOPs, as in SDN
EXITS = range(len(AFTER))
CHANNELS = (16, 16, 32, 32, 64, 64)
CELLS = 4  # a side, into which a head's features are averaged
EPOCHS, BATCH, LR, LABELS = 40, 256, 2e-3, 0.5
LOST = 0.003


def loaded(data: Path) -> ResNet:
    teacher = resnet56()
    weights = load_file(data / "cifar10_resnet56.safetensors")
    teacher.load_state_dict(weights, strict=False)
    return teacher.eval()


class UpTo(nn.Module):
    """The teacher as far as an exit, and the exit: pixels (B, 3, 32, 32) to logits (B, 10).

    With `reuse` a head also reads the answer of the exit before, as in "Zero time waste".
    """

    def __init__(self, teacher: ResNet, heads: nn.ModuleList, last: int, reuse: bool) -> None:
        super().__init__()
        self.teacher, self.heads, self.last, self.reuse = teacher, heads, last, reuse
        self.blocks = nn.ModuleList([*teacher.layer1, *teacher.layer2, *teacher.layer3])

    def forward(self, pixels: Tensor) -> Tensor:
        net = self.teacher
        x = F.relu(net.bn1(net.conv1((pixels / 255 - net.mean) / net.deviation)))
        logits = None
        for number, block in enumerate(self.blocks[: AFTER[self.last]], start=1):
            x = block(x)
            if number in AFTER and (self.reuse or number == AFTER[self.last]):
                logits = answered(self.heads[AFTER.index(number)], pooled(x), logits, self.reuse)
        return logits


def pooled(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, x.shape[-1] // CELLS).flatten(1)


def answered(head: nn.Module, features: Tensor, before: Tensor | None, reuse: bool) -> Tensor:
    if reuse and before is not None:
        features = torch.cat([features, before], dim=1)
    return head(features)


def splits(data: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from bdistil.datasets.catalogue import load_dataset
    from bdistil.spec import load_spec

    path = str(data / "cifar10_photographs.parquet")
    spec = load_spec({"data": {"path": path, "split": "part"}})
    dataset = load_dataset(spec.data, 0, None)
    return {
        name: (getattr(dataset, name).x, getattr(dataset, name).y)
        for name in ("train", "validation", "test")
    }


@torch.inference_mode()
def features_of(teacher: ResNet, x: np.ndarray) -> list[np.ndarray]:
    """Pooled features at each exit, and the teacher's logits."""
    kept: list[list[Tensor]] = [[] for _ in range(len(AFTER) + 1)]
    blocks = [*teacher.layer1, *teacher.layer2, *teacher.layer3]
    for start in range(0, len(x), 250):
        pixels = torch.as_tensor(x[start : start + 250], dtype=torch.float32)
        h = (pixels / 255 - teacher.mean) / teacher.deviation
        h = F.relu(teacher.bn1(teacher.conv1(h)))
        for number, block in enumerate(blocks, start=1):
            h = block(h)
            if number in AFTER:
                kept[AFTER.index(number)].append(pooled(h).half())
        kept[-1].append(teacher.linear(h.mean(dim=(2, 3))))
    return [torch.cat(each).numpy() for each in kept]


def play(args: argparse.Namespace) -> None:
    teacher = loaded(args.data)
    for name, (x, y) in splits(args.data).items():
        for flipped in (False, True)[: 2 if name == "train" else 1]:
            file = args.work / f"{name}{'-flipped' if flipped else ''}.npz"
            if not file.exists():
                found = features_of(teacher, x[..., ::-1].copy() if flipped else x)
                np.savez(file, *found, y=y)
                print(file.name, flush=True)
    for reuse in (False, True):
        train_heads(args.work, reuse)


def read(work: Path, name: str) -> tuple[list[Tensor], Tensor, Tensor]:
    kept = np.load(work / f"{name}.npz")
    features = [torch.as_tensor(kept[f"arr_{k}"]).float() for k in range(len(AFTER))]
    return features, torch.as_tensor(kept[f"arr_{len(AFTER)}"]), torch.as_tensor(kept["y"])


def train_heads(work: Path, reuse: bool) -> None:
    """Each head on labels and the teacher's answers; one after another, as each is frozen then."""
    torch.manual_seed(0)
    parts = [read(work, name) for name in ("train", "train-flipped")]
    features = [torch.cat(each) for each in zip(*(part[0] for part in parts), strict=True)]
    logits, labels = (torch.cat([part[k] for part in parts]) for k in (1, 2))
    heads, before = nn.ModuleList(), None
    for own in features:
        x = own if before is None or not reuse else torch.cat([own, before], dim=1)
        mean, deviation = x.mean(dim=0), x.std(dim=0) + 1e-5
        head = nn.Linear(x.shape[1], logits.shape[1])
        fit(head, (x - mean) / deviation, logits, labels)
        with torch.no_grad():  # the scale goes into the head
            head.weight /= deviation
            head.bias -= head.weight @ mean
            before = head(x)
        heads.append(head)
    save_file(heads.state_dict(), work / f"heads-{reuse}.safetensors")
    answers = {}
    for name in ("validation", "test"):
        own, teacher, y = read(work, name)
        found, before = [], None
        with torch.no_grad():
            for head, x in zip(heads, own, strict=True):
                before = answered(head, x, before, reuse)
                found.append(before.numpy())
        answers |= {name: np.stack([*found, teacher.numpy()]), f"y_{name}": y.numpy()}
    np.savez(work / f"answers-{reuse}.npz", **answers)
    right = answers["test"].argmax(-1) == answers["y_test"]
    print("reuse" if reuse else "alone", right.mean(axis=1).round(4), flush=True)


def fit(head: nn.Linear, x: Tensor, logits: Tensor, labels: Tensor) -> None:
    steps = EPOCHS * -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            found = F.log_softmax(head(x[rows]), dim=1)
            told = F.softmax(logits[rows], dim=1)
            loss = LABELS * F.nll_loss(found, labels[rows])
            loss = loss + (1 - LABELS) * F.kl_div(found, told, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def time(args: argparse.Namespace) -> None:
    """The way up to each exit, and the teacher, as graphs in onnxruntime, one thread."""
    from bdistil.core.cost import timed_in_turns
    from bdistil.export.onnx_export import export_module
    from bdistil.runtime.onnx_runner import OnnxRunner

    teacher = loaded(args.data)
    example = np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32)).astype(np.float32)
    runner, names = OnnxRunner(args.work, 10), []
    for last in EXITS:
        heads = nn.ModuleList(nn.Linear(CHANNELS[k] * CELLS**2 + 10 * (k > 0), 10) for k in EXITS)
        heads.load_state_dict(load_file(args.work / "heads-True.safetensors"))
        module = UpTo(teacher, heads, last, reuse=True).eval()
        names.append(f"exit_{last + 1}.onnx")
        export_module(module, example, args.work / names[-1])
    names.append("teacher.onnx")
    export_module(teacher, example, args.work / names[-1])
    found = {}
    for batch in (1, 64):
        x = example[:batch]
        calls = [lambda name=name, x=x: runner.run_graph(name, x) for name in names]
        readings = timed_in_turns(calls, repeats=200 if batch == 1 else 20, warmup=5, seconds=30)
        found[str(batch)] = np.median(np.array(readings), axis=0).tolist()
    (args.work / "seconds.json").write_text(json.dumps(found, indent=1))
    print({k: (np.array(v) / v[-1]).round(3) for k, v in found.items()}, 1e6 * found["1"][-1])


def policy(answers: dict[str, np.ndarray], seconds: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean time on test with the fastest threshold that loses LOST on validation."""

    def at(name: str, threshold: float) -> tuple[float, float]:
        logits, y = answers[name], answers[f"y_{name}"]
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        sure = (shares / shares.sum(-1, keepdims=True)).max(-1) >= threshold
        sure[-1] = True
        stage = sure.argmax(axis=0)
        right = logits.argmax(-1)[stage, np.arange(len(y))] == y
        return float(right.mean()), float(seconds[stage].mean())

    least = at("validation", np.inf)[0] - LOST
    kept = [t for t in np.linspace(0.3, 1.0, 400) if at("validation", t)[0] >= least]
    return at("test", min(kept, key=lambda t: at("validation", t)[1]))


def tell(args: argparse.Namespace) -> None:
    seconds = json.loads((args.work / "seconds.json").read_text())
    shares = {batch: np.array(v) / v[-1] for batch, v in seconds.items()}
    rows = []
    for reuse in (False, True):
        answers = dict(np.load(args.work / f"answers-{reuse}.npz"))
        right = (answers["test"].argmax(-1) == answers["y_test"]).mean(axis=1)
        kind = "reads the exit before" if reuse else "by itself"
        for k, accuracy in enumerate(right):
            name = "teacher" if k == len(AFTER) else f"after block {AFTER[k]}, {kind}"
            rows.append([name, accuracy, shares["1"][k], shares["64"][k]])
        accuracy, mean = policy(answers, shares["1"])
        rows.append([f"leaving when sure, {kind}", accuracy, mean, ""])
    with (HERE / "exits.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["exit", "accuracy", "time_ratio", "time_ratio_64"])
        writer.writerows([[f"{v:.6g}" if isinstance(v, float) else v for v in r] for r in rows])
    for row in rows:
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["play", "time", "tell"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    args = parser.parse_args()
    args.work, args.data = args.work.resolve(), args.data.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    {"play": play, "time": time, "tell": tell}[args.what](args)


if __name__ == "__main__":
    main()
