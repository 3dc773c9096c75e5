"""How an update is compiled, and what torch 2.13's compiler leaves undone in its graph on a CPU.

The compiler joins equal expressions only where it makes the gradients itself, and it gives activations to convolutions
only where weights never change. An update comes to it with its gradients in it, and with weights that change. The
passes here keep its numbers but for rounding.
"""

from typing import Any

import torch
from torch import Tensor
from torch._functorch.compile_utils import fx_graph_cse
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

from bcq_exp.engine.machine import has_onednn

aten, mkldnn = torch.ops.aten, torch.ops.mkldnn

# Milliseconds of a product by 512 x 3136 weights that lie outside the cache, two cores: at 32 rows 0.42 weights first,
# 0.59 rows first; at 64 rows 0.96 either way.
FEW_ROWS, MANY_WEIGHTS = 64, 2**20


def compiler_options(device: torch.device) -> dict[str, Any]:
    """Options of `torch.compile` for a population's update.

    Nothing is checked before a call but the pattern, which names the population too: shapes and objects are its own and
    never change; checking them would take a tenth of a small update. On a CPU calls from kernel to kernel are compiled
    too (5 %), and `deterministic` writes down what is broadcast: torch 2.13 would work a target out again for each
    error that it is in, and with 200 quantiles write beyond its tensors. On CUDA a graph's kernels are launched at
    once, on tensors that stay where they are.
    """
    options: dict[str, Any] = {"cpp_wrapper": True, "deterministic": True, "post_grad_custom_pre_pass": CpuPasses()}
    if device.type == "cuda":
        options = {"triton.cudagraphs": True}
    return {**options, "guard_filter_fn": lambda guards: [guard.name.startswith("pattern") for guard in guards]}


class CpuPasses(CustomGraphPass):
    """The passes in their order; the Nature CNN's update takes 9 % less time with them."""

    def __call__(self, graph: Graph) -> None:
        """Change the graph in place."""
        _compute_once(graph)
        _rectify_in_convolutions(graph)
        _multiply_weights_first(graph)

    def uuid(self) -> Any:
        """What compiled graphs are kept under: this file."""
        return get_hash_for_files((__file__,))


def _compute_once(graph: Graph) -> None:
    """Give all that is computed from equal inputs in an equal way the first one's result."""
    joined = fx_graph_cse(graph)
    for node in reversed(graph.nodes):
        graph.erase_node(node)
    graph.output(graph.graph_copy(joined, {}))


def _rectify_in_convolutions(graph: Graph) -> None:
    """relu(convolution(x)) as one call: the result is written once, where it was written, read and written again.

    Left alone is what oneDNN does not compute on this machine, and images of one channel, whose axes lie in an order
    that the compiler and the kernel do not agree on.
    """
    for conv in graph.find_nodes(op="call_function", target=aten.convolution.default):
        x, weight, bias, stride, padding, dilation, is_transposed, _, groups = conv.args
        (user,) = conv.users if len(conv.users) == 1 else (None,)
        is_served = not is_transposed and _value(x).shape[1] > 1 and has_onednn(_value(x).dtype)
        if user is None or user.target != aten.relu.default or not is_served:
            continue
        with graph.inserting_before(user):
            sizes = (padding, stride, dilation, groups)
            rectified = _call(graph, mkldnn._convolution_pointwise.default, x, weight, bias, *sizes, "relu", [], "")
        _replace(graph, user, rectified)
        graph.erase_node(conv)


def _multiply_weights_first(graph: Graph) -> None:
    """x W^T as (W x^T)^T, where W is large and x has few rows."""
    for product in graph.find_nodes(op="call_function", target=aten.mm.default):
        x, transposed = product.args
        if not _is_transposed(transposed) or _is_transposed(transposed.args[0]):
            continue
        weight = transposed.args[0]
        if len(_value(x)) < FEW_ROWS and _value(weight).numel() > MANY_WEIGHTS and _value(x).dtype == torch.float32:
            with graph.inserting_before(product):
                columns = _call(graph, aten.mm.default, weight, _call(graph, aten.permute.default, x, [1, 0]))
                rows = _call(graph, aten.permute.default, columns, [1, 0])
            _replace(graph, product, rows)


def _call(graph: Graph, target: Any, *args: Any) -> Node:
    """A new node, with the shape of its result as the compiler's nodes have it."""
    node = graph.call_function(target, args)
    node.meta["val"] = target(*(_value(arg) if isinstance(arg, Node) else arg for arg in args))
    return node


def _replace(graph: Graph, node: Node, by: Node) -> None:
    node.replace_all_uses_with(by)
    graph.erase_node(node)


def _is_transposed(node: Node) -> bool:
    return node.target == aten.permute.default


def _value(node: Node) -> Tensor:
    """A tensor of the node's shape and type, without memory."""
    value: Tensor = node.meta["val"]
    return value
