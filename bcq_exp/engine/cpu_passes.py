"""Passes over the graph of an update, for what torch's compiler (Inductor) leaves undone on a CPU.

Inductor fuses convolution and relu only for frozen weights, and eliminates common subexpressions only in graphs that it
differentiates itself. An update's graph already contains the gradients and its weights change, so it gets neither.
Results stay equal but for rounding.

Importing this fails where torch lacks one of the private names below; `compiled.py` then does without the passes.
"""

from typing import Any

import torch
from torch import Tensor
from torch._functorch.compile_utils import fx_graph_cse
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.pattern_matcher import stable_topological_sort
from torch.fx import Graph, Node

from bcq_exp.engine.machine import has_onednn

aten = torch.ops.aten
# oneDNN's convolution with an activation; where torch has no oneDNN, nothing asks for it.
convolution_pointwise = torch.ops.mkldnn._convolution_pointwise.default if has_onednn(torch.float32) else None

# Milliseconds of a product by 512 x 3136 weights that lie outside the cache, two cores: at 32 rows 0.42 weights first,
# 0.59 rows first; at 64 rows 0.96 either way.
FEW_ROWS, MANY_WEIGHTS = 64, 2**20
# Microseconds of a product by 256 x 256 weights, two cores: 75 at 64 rows, 105 at 128, 151 at 192.
MANY_ROWS = 128
BY_ROW = {aten.relu.default, aten.add.Tensor, aten.unsqueeze.default, aten.squeeze.dim}  # between two layers


class CpuPasses(CustomGraphPass):
    """All passes, one after the other; the Nature CNN's update takes 9 % less time with them."""

    def __call__(self, graph: Graph) -> None:
        """Change the graph in place."""
        _compute_once(graph)
        _multiply_in_one_pass(graph)
        _rectify_in_convolutions(graph)
        _multiply_weights_first(graph)

    def uuid(self) -> Any:
        """The key of compiled graphs in the cache: the digest of this file."""
        return get_hash_for_files((__file__,))


def _compute_once(graph: Graph) -> None:
    """Eliminate common subexpressions: of equal calls on equal inputs the first one's result serves all."""
    joined = fx_graph_cse(graph)
    for node in reversed(graph.nodes):
        graph.erase_node(node)
    graph.output(graph.graph_copy(joined, {}))


def _rectify_in_convolutions(graph: Graph) -> None:
    """Fuse relu(convolution(x)): the result is written once; without it, it is written, read and written again.

    Left alone are numbers that oneDNN does not serve on this machine, and images of one channel: the compiler and the
    kernel disagree about the order in which their axes lie.
    """
    for conv in graph.find_nodes(op="call_function", target=aten.convolution.default):
        x, weight, bias, stride, padding, dilation, is_transposed, _, groups = conv.args
        (user,) = conv.users if len(conv.users) == 1 else (None,)
        is_served = not is_transposed and _value(x).shape[1] > 1 and has_onednn(_value(x).dtype)
        if user is None or user.target != aten.relu.default or not is_served:
            continue
        with graph.inserting_before(user):
            sizes = (padding, stride, dilation, groups)
            rectified = _call(graph, convolution_pointwise, x, weight, bias, *sizes, "relu", [], "")
        _replace(graph, user, rectified)
        graph.erase_node(conv)


def _multiply_in_one_pass(graph: Graph) -> None:
    """Compute x W^T and y W^T, and what follows up to the next layer, for the rows of both at once.

    A network that sees s and s' then reads its weights once.
    """
    by_weight: dict[Any, list[Any]] = {}
    for product in graph.find_nodes(op="call_function", target=aten.mm.default):
        if len(_value(product)) <= MANY_ROWS and _value(product.args[1]).numel() <= MANY_WEIGHTS:
            by_weight.setdefault(product.args[1], []).append(product)
    joined: dict[tuple[Any, Any], Any] = {}  # the rows of two products in one
    for first, second in ((twins[0], twins[1]) for twins in by_weight.values() if len(twins) > 1):
        if _depends(second, on=first):
            continue
        with graph.inserting_before(second):
            rows = _call(graph, aten.mm.default, _rows_of_both(graph, first, second, joined), second.args[1])
            halves = _halves(graph, rows, first)
        joined[halves] = rows
        for product, half in zip((first, second), halves, strict=True):
            _replace(graph, product, half)
    stable_topological_sort(graph)
    graph.eliminate_dead_code()


def _rows_of_both(graph: Graph, first: Any, second: Any, joined: dict[tuple[Any, Any], Any]) -> Any:
    """The inputs of two products in one: of the rows of an earlier pair, if it leads there, or else put together."""
    x, y = first.args[0], second.args[0]
    steps, pair = list[Any](), (x, y)
    while pair not in joined and _are_alike(*pair):
        steps.append(pair[0])
        pair = (pair[0].args[0], pair[1].args[0])
    if pair not in joined:
        both = graph.call_function(aten.cat.default, ([x, y],))
        both.meta["val"] = torch.cat([_value(x), _value(y)])
        return both
    both = joined[pair]
    for step in reversed(steps):
        both = _call(graph, step.target, both, *step.args[1:])
    for single, half in zip((x, y), _halves(graph, both, x), strict=True):
        single.replace_all_uses_with(half)
    return both


def _are_alike(x: Any, y: Any) -> bool:
    """Whether two nodes do the same, row by row, with what they take besides their rows."""
    return x.target == y.target and x.target in BY_ROW and x.args[1:] == y.args[1:] and x.kwargs == y.kwargs


def _halves(graph: Graph, both: Any, first: Any) -> tuple[Any, Any]:
    """The rows of the first of two nodes, and those of the second."""
    num_rows, num_all = len(_value(first)), len(_value(both))
    upper = _call(graph, aten.slice.Tensor, both, 0, 0, num_rows)
    return upper, _call(graph, aten.slice.Tensor, both, 0, num_rows, num_all)


def _depends(node: Node, on: Node) -> bool:
    """Whether a node is computed from another."""
    waiting, seen = [node], {node}
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in seen]
        if on in new:
            return True
        seen.update(new)
        waiting += new
    return False


def _multiply_weights_first(graph: Graph) -> None:
    """Compute x W^T as (W x^T)^T where W is large and x has few rows."""
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
    """A new node that knows the shape of its result, as the compiler's own nodes do."""
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
