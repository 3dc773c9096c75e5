from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bcq_exp.engine.cpu_passes import FEW_ROWS, MANY_ROWS, MANY_WEIGHTS, CpuPasses


def passed(function: Callable[..., Any], *inputs: Tensor) -> list[str]:
    """What a function calls once the passes went over its graph, after a check that its results are the same."""
    traced = make_fx(function, tracing_mode="fake")(*inputs)
    CpuPasses()(traced.graph)
    traced.graph.lint()
    traced.recompile()
    for ours, theirs in zip(traced(*inputs), function(*inputs), strict=True):
        torch.testing.assert_close(ours, theirs)
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    return [getattr(target, "overloadpacket", target).__name__ for target in called]


def test_equal_expressions_are_computed_once() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        return (x / 255).exp() + 1, (x / 255).exp() + 2

    assert passed(function, torch.arange(6.0)) == ["div", "exp", "add", "add"]


def images_and_kernels(dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4, 9, 9), (8, 4, 3, 3), (8,))
    return tuple(torch.randn(shape, generator=generator).to(dtype) for shape in shapes)


def test_convolutions_rectify_themselves_also_where_gradients_come_back() -> None:
    def function(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        def loss(weight: Tensor) -> Tensor:
            return F.conv2d(x, weight, bias, 2).relu().square().sum()

        return torch.func.grad(loss)(weight), F.conv2d(x + 1, weight, bias, 1).relu()

    calls = passed(function, *images_and_kernels())
    assert calls.count("_convolution_pointwise") == 2
    assert not {"convolution", "relu"} & {*calls}


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (lambda x, w, b: (F.conv2d(x, w, b).relu(),), torch.float64),  # oneDNN has no such numbers
        (lambda x, w, b: ((y := F.conv2d(x, w, b)).relu(), y), torch.float32),
        (lambda x, w, b: (F.conv2d(x, w, b).tanh(),), torch.float32),
        (lambda x, w, b: (F.conv_transpose2d(x, w.transpose(0, 1), b).relu(),), torch.float32),
    ],
)
def test_other_convolutions_stay_as_they_are(function: Callable[..., Any], dtype: torch.dtype) -> None:
    calls = passed(function, *images_and_kernels(dtype))
    assert "convolution" in calls
    assert "_convolution_pointwise" not in calls


@pytest.mark.parametrize(
    ("num_rows", "fan_out", "is_turned"),
    [(FEW_ROWS - 1, 513, True), (FEW_ROWS, 513, False), (FEW_ROWS - 1, 512, False)],
)
def test_few_rows_are_multiplied_by_many_weights_from_the_other_side(
    num_rows: int, fan_out: int, is_turned: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    fan_in = MANY_WEIGHTS // 512
    x, weight = (torch.randn(size, fan_in, generator=generator) / fan_in**0.5 for size in (num_rows, fan_out))
    calls = passed(lambda x, weight: (x @ weight.permute(1, 0),), x, weight)
    assert calls == (["permute", "permute", "mm", "permute"] if is_turned else ["permute", "mm"])


def rows_and_layers(num_rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((num_rows, 4), (num_rows + 3, 4), (8, 4), (8,), (8, 8), (8,), (2, 8))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def network(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor) -> Tensor:
    for weight, bias in ((w1, b1), (w2, b2)):
        x = (x @ weight.permute(1, 0) + bias).relu()
    return x @ w3.permute(1, 0)


def test_a_network_that_sees_two_states_multiplies_the_rows_of_both_at_once() -> None:
    def function(x: Tensor, y: Tensor, *layers: Tensor) -> tuple[Tensor, Tensor]:
        return network(x, *layers), network(y, *layers)

    calls = passed(function, *rows_and_layers(5))
    assert [calls.count(name) for name in ("mm", "relu", "cat")] == [3, 2, 1]


def test_gradients_through_the_first_of_two_states_stay_the_same() -> None:
    def function(x: Tensor, y: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        def loss(*layers: Tensor) -> Tensor:
            target = network(y, *layers).detach().max(1).values.mean()
            return (network(x, *layers) - target).square().mean()

        return torch.func.grad(loss, argnums=tuple(range(5)))(*layers)

    calls = passed(function, *rows_and_layers(6))
    assert calls.count("relu") == 2


def test_what_is_computed_from_a_product_is_not_joined_with_it() -> None:
    """A state that depends on the network's first answer: both products stay."""
    x, _, w1, b1, w2, *_ = rows_and_layers(5)
    calls = passed(lambda x, w: ((h := x @ w.permute(1, 0)), h.relu() @ w.permute(1, 0)), x @ w1.T + b1, w2)
    assert calls.count("mm") == 2
    assert "cat" not in calls


@pytest.mark.parametrize(("num_rows", "num_products"), [(MANY_ROWS, 1), (MANY_ROWS + 1, 2)])
def test_products_of_many_rows_stay_apart(num_rows: int, num_products: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y, weight = (torch.randn(size, 4, generator=generator) for size in (num_rows, num_rows, 8))
    calls = passed(lambda x, y, w: (x @ w.permute(1, 0), y @ w.permute(1, 0)), x, y, weight)
    assert calls.count("mm") == num_products


def test_without_onednn_convolutions_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    assert "convolution" in passed(lambda x, w, b: (F.conv2d(x, w, b).relu(),), *images_and_kernels())
