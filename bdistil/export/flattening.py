"""A network without its modules: one call of Python instead of one for each layer.

On small networks a module's call takes longer than its product. The operations are traced by
torch.fx through all modules, and the weights lie side by side in one.
"""

from __future__ import annotations

import operator

from torch import fx, nn


class _ThroughModules(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False


def flattened(network: nn.Module) -> nn.Module:
    """The same operations on copies of the weights; the network itself if it cannot be traced."""
    try:
        traced = _ThroughModules().trace(network)
    except Exception:  # such as recurrent layers, which look at their inputs
        return network
    root, graph, copies = nn.Module(), fx.Graph(), dict[fx.Node, fx.Node]()
    for node in traced.nodes:
        if node.op == "get_attr":
            name = str(node.target).replace(".", "_")
            weight = operator.attrgetter(str(node.target))(network)
            root.register_buffer(name, weight.detach().clone())
            copies[node] = graph.get_attr(name)
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    return fx.GraphModule(root, graph)
