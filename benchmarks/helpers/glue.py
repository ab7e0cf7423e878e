"""What one would write without bdistil: Optuna, a process pool and a loop over rounds.

The same data, teacher, students, epochs and candidates as the demo's search. It knows no weak
learners, journal, resume or export but a state dictionary, which makes it shorter and faster.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

TEACHER_EPOCHS, EPOCHS, CANDIDATES, WORKERS = 60, 80, 8, 2
LABEL_SHARE, BATCH, SEED = 0.6, 128, 0
DATA: dict[str, Tensor] = {}


class Student(nn.Module):
    """A hidden layer, and a head on it and on the hidden layers of the students before."""

    def __init__(self, inputs: int, width: int, earlier: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, width), nn.GELU())
        self.head = nn.Linear(width + earlier, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
        """The student's hidden layer and its part of the logits."""
        hidden = self.body(x)
        return hidden, self.head(torch.cat([hidden, earlier], dim=1))


def set_up(data: dict[str, np.ndarray[Any, Any]]) -> None:
    """In each worker: the data, once."""
    torch.set_num_threads(1)
    DATA.update({name: torch.as_tensor(array) for name, array in data.items()})


def train_teacher(x: Tensor, y: Tensor) -> nn.Module:
    """The demo's teacher."""
    torch.manual_seed(SEED)
    layers: list[nn.Module] = []
    for inputs, outputs in ((x.shape[1], 256), (256, 128)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.4)]
    teacher = nn.Sequential(*layers, nn.Linear(128, int(y.max()) + 1))
    optimiser = torch.optim.AdamW(teacher.parameters(), lr=2e-3, fused=True)
    for _ in range(TEACHER_EPOCHS):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            cross_entropy(teacher(x[rows]), y[rows]).backward()
            optimiser.step()
    return teacher.eval()


def train(width: int, lr: float, seed: int, state: dict[str, Any]) -> tuple[float, Any]:
    """A candidate's validation loss and weights."""
    torch.manual_seed(seed)
    x, y, g = DATA["x"], DATA["y"], DATA["g"]
    f, hidden = state["train"]
    student = Student(x.shape[1], width, hidden.shape[1], g.shape[1])
    optimiser = torch.optim.AdamW(student.parameters(), lr=lr, fused=True)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            _, own = student(x[rows], hidden[rows])
            loss_of(f[rows] + own, g[rows], y[rows]).backward()
            optimiser.step()
            schedule.step()
    f, hidden = state["validation"]
    with torch.no_grad():
        _, own = student(DATA["x_validation"], hidden)
        loss = loss_of(f + own, DATA["g_validation"], DATA["y_validation"])
    return float(loss), student.state_dict()


def loss_of(logits: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Labels and teacher mixed."""
    distilled = kl_div(log_softmax(logits, 1), softmax(teacher, 1), reduction="batchmean")
    return (1 - LABEL_SHARE) * distilled + LABEL_SHARE * cross_entropy(logits, labels)


def main(data_file: str, out: str, widths: list[int]) -> None:
    """The whole script; prints the seconds of each round."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with np.load(data_file) as stored:
        data = {name: torch.as_tensor(stored[name]) for name in stored.files}
    teacher = train_teacher(data["x"], data["y"])
    splits = {"train": "", "validation": "_validation", "test": "_test"}
    with torch.no_grad():
        for end in splits.values():
            logits = teacher(data["x" + end])
            data["g" + end] = logits - logits.mean(1, keepdim=True)
    outputs = data["g"].shape[1]
    state = {
        split: (torch.zeros(len(data["x" + end]), outputs), torch.zeros(len(data["x" + end]), 0))
        for split, end in splits.items()
    }
    arrays = {name: tensor.numpy() for name, tensor in data.items()}
    spawn = multiprocessing.get_context("spawn")
    seconds, accuracy, kept = [], [], []
    with ProcessPoolExecutor(WORKERS, spawn, initializer=set_up, initargs=(arrays,)) as pool:
        for number, width in enumerate(widths):
            started = time.perf_counter()
            study = optuna.create_study(
                direction="minimize", sampler=optuna.samplers.TPESampler(seed=number)
            )
            running = {}
            for seed in range(CANDIDATES):
                trial = study.ask()
                lr = trial.suggest_float("lr", 0.01, 0.04, log=True)
                running[pool.submit(train, width, lr, seed, state)] = trial
            found = []
            for task, trial in running.items():
                found.append(task.result())
                study.tell(trial, found[-1][0])
            _, weights = min(found, key=lambda each: each[0])
            student = Student(data["x"].shape[1], width, state["train"][1].shape[1], outputs)
            student.load_state_dict(weights)
            kept.append(weights)
            for split, end in splits.items():
                f, hidden = state[split]
                with torch.no_grad():
                    own_hidden, own = student(data["x" + end], hidden)
                state[split] = f + own, torch.cat([hidden, own_hidden], dim=1)
            right = state["test"][0].argmax(1) == data["y_test"]
            accuracy.append(float(right.float().mean()))
            seconds.append(time.perf_counter() - started)
    torch.save(kept, out)
    print(json.dumps({"seconds": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(width) for width in sys.argv[3].split(",")])
