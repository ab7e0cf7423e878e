"""Networks of one input side by side, laid out as vectors together where each ends with that.

onnxruntime keeps the channels of convolutions in blocks, and joins them so: one copy of all
channels back into rows takes less time than one for each network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn


class SideBySide(nn.Module):
    """The features of each network after those of the one before.

    Args:
        networks: from inputs (B, ...) to features (B, own), in evaluation mode.
        example: one input (1, ...).
    """

    def __init__(self, networks: Sequence[nn.Module], example: Tensor) -> None:
        super().__init__()
        maps = [found for network in networks if (found := without_flatten(network)) is not None]
        self.flattens = len(maps) == len(networks) and _of_one_grid(maps, example)
        self.networks = nn.ModuleList(maps if self.flattens else networks)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, D) of inputs (B, ...)."""
        joined = torch.cat([network(x) for network in self.networks], dim=1)
        return joined.flatten(1) if self.flattens else joined


def without_flatten(network: nn.Module) -> fx.GraphModule | None:
    """A traced network up to the layer ``nn.Flatten`` that it ends with; None if there is none."""
    if not isinstance(network, fx.GraphModule):
        return None
    result = network.graph.output_node().args[0]
    if not isinstance(result, fx.Node) or result.op != "call_module":
        return None
    last = network.get_submodule(str(result.target))
    if not isinstance(last, nn.Flatten) or (last.start_dim, last.end_dim) != (1, -1):
        return None
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.graph_copy(network.graph, copies)
    graph.output(copies[result.all_input_nodes[0]])
    graph.erase_node(copies[result])
    return fx.GraphModule(network, graph)


@torch.no_grad()
def _of_one_grid(networks: Sequence[nn.Module], example: Tensor) -> bool:
    """Whether their channels (1, C, ...) differ in their number alone."""
    return len({network(example).shape[2:] for network in networks}) == 1
