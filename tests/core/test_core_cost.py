"""FLOPs, parameters and latencies of modules."""

import pytest
import torch
from torch import nn

from bdistil.core import cost
from bdistil.core.cost import flops, latencies, parameters


class LastOutput(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_on_the_cpu_show_their_products(kind, gates):
    layer = LastOutput(kind(3, 5, batch_first=True))
    assert flops(layer, (7, 3)) == 7 * 2 * gates * (3 * 5 + 5 * 5)


def test_products_and_convolutions_count_two_an_operation():
    assert flops(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (6,)) == 2 * (24 + 12)
    convolution = nn.Conv2d(2, 5, kernel_size=3, padding=1)
    assert flops(convolution, (2, 8, 8)) == 2 * 8 * 8 * 5 * 2 * 9


def test_counting_leaves_the_module_where_it_is():
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).train()
    flops(module, (6,))
    assert module.training
    assert next(module.parameters()).device.type == "cpu"
    assert module[1].num_batches_tracked == 0


def test_parameters_are_all_values():
    assert parameters(nn.Linear(6, 4)) == 6 * 4 + 4


class Clock:
    """Stands in for the time module: time passes only in what is measured."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def module(self, *durations):
        """A module whose n-th call takes the n-th duration, the last one for ever."""
        calls = []

        def run(x):
            calls.append(x)
            self.now += durations[min(len(calls), len(durations)) - 1]

        return run


def test_latencies_are_medians_after_the_warm_up_in_the_order_given(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    slow_start = clock.module(100.0, 100.0, 3.0)
    one_outlier = clock.module(0, 0, 1.0, 1.0, 50.0, 1.0)
    measured = latencies([slow_start, one_outlier], torch.zeros(1), repeats=5, warmup=2)
    assert measured == pytest.approx([3.0, 1.0])


def test_real_latencies_are_positive():
    modules = [nn.Linear(4, 4), nn.Linear(4, 400)]
    measured = latencies(modules, torch.zeros(2, 4), repeats=3, warmup=1)
    assert len(measured) == 2
    assert min(measured) > 0


def test_latencies_use_one_thread_and_put_the_old_number_back():
    seen = []

    def module(x):
        seen.append((torch.get_num_threads(), torch.is_grad_enabled()))
        if len(seen) == 4:
            raise RuntimeError("broken")

    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="broken"):
        latencies([module], torch.zeros(1), repeats=9, warmup=1)
    assert torch.get_num_threads() == 2
    assert set(seen) == {(1, False)}


def test_latencies_wait_for_an_accelerator(monkeypatch):
    events = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: events.append("wait"))
    latencies([lambda x: events.append("run")], torch.zeros(1, device="meta"), repeats=2, warmup=1)
    assert events == ["wait", *["run", "wait"] * 3]
