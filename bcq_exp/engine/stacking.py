"""Modules of one shape as one: their weights along a leading population axis.

Shape suffix: P members.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

# Layers that draw random numbers, which a population gets as noise, or that keep statistics of their batches.
REFUSED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
           nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)  # fmt: skip


class Stack:
    """The same networks of P members, by name.

    The members' parameters and buffers become views of the stacked tensors, so that each member always holds its
    current weights. A parameter that networks share is stacked once.

    Args:
        members: each a mapping of the same names to modules of the same shape.

    Raises:
        ValueError: the members differ in more than the numbers in their parameters and buffers, or a module draws
            random numbers or keeps statistics of its batches (dropout, batch normalisation), which a stack cannot do.
    """

    def __init__(self, members: Sequence[Mapping[str, nn.Module]]) -> None:
        first = members[0]
        for member in members:
            check_alike(first, member)
        self.keys: dict[str, dict[str, str]] = {}
        self.tensors: dict[str, Tensor] = {}
        seen: dict[int, str] = {}
        for name, module in first.items():
            self.keys[name] = {}
            for path, tensor in named_tensors(module):
                key = seen.setdefault(id(tensor), f"{name}.{path}")
                self.keys[name][path] = key
                if key not in self.tensors:
                    self.tensors[key] = stack([dict(named_tensors(member[name]))[path] for member in members])
        self.params = {key for name, module in first.items() for key in self._param_keys(name, module)}
        self.shared = self._shared_trunks(first)
        self.bases = {name: _empty(module) for name, module in first.items()}

    def _param_keys(self, name: str, module: nn.Module) -> list[str]:
        paths = [path for path, param in module.named_parameters() if param.requires_grad]
        return [self.keys[name][path] for path in paths]

    def _shared_trunks(self, member: Mapping[str, nn.Module]) -> dict[str, str]:
        """For each network whose `trunk` another one has too, the first network that has it."""
        by_trunk: dict[int, list[str]] = {}
        for name, module in member.items():
            if hasattr(module, "trunk") and hasattr(module, "head"):
                by_trunk.setdefault(id(module.trunk), []).append(name)
        return {name: names[0] for names in by_trunk.values() if len(names) > 1 for name in names}

    def trained(self, names: Sequence[str]) -> list[str]:
        """Keys of the parameters of the named networks, each once."""
        return list(dict.fromkeys(key for name in names for key in self.keys[name].values() if key in self.params))

    def owner(self, key: str) -> tuple[str, str]:
        """The first network that has the tensor, and its path there."""
        return next((name, path) for name, paths in self.keys.items() for path, own in paths.items() if own == key)

    def bind(self, weights: Mapping[str, Tensor]) -> dict[str, Callable[..., Any]]:
        """The networks as callables on one member's weights, by key.

        Networks that share a `trunk` run it once for each input, forward and backward.
        """
        trunks: dict[str, Callable[..., Any]] = {}
        return {name: self._bound(name, weights, trunks) for name in self.bases}

    def _bound(
        self, name: str, weights: Mapping[str, Tensor], trunks: dict[str, Callable[..., Any]]
    ) -> Callable[..., Any]:
        base, keys = self.bases[name], self.keys[name]
        if name not in self.shared:
            return _call(base, {path: weights[key] for path, key in keys.items()})
        parts: dict[str, dict[str, Tensor]] = {"trunk": {}, "head": {}}
        for path, key in keys.items():
            part, _, rest = path.partition(".")
            parts[part][rest] = weights[key]
        calls = {part: _call(base.get_submodule(part), own) for part, own in parts.items()}
        trunk = trunks.setdefault(self.shared[name], _once(calls["trunk"]))
        return lambda obs: calls["head"](trunk(obs))


def _call(module: nn.Module, weights: dict[str, Tensor]) -> Callable[..., Any]:
    return lambda *inputs: functional_call(module, weights, inputs)


def _once(call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function that computes once for each tensor, and again where gradients have been switched on or off."""
    met: list[tuple[Tensor, bool, Tensor]] = []

    def remembered(x: Tensor) -> Tensor:
        with_grad = torch.is_grad_enabled()
        for known, had_grad, out in met:
            if known is x and had_grad == with_grad:
                return out
        met.append((x, with_grad, call(x)))
        return met[-1][2]

    return remembered


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors along a new leading axis (P, ...); each becomes a view of its row. A lone one is not copied.

    On a CPU the weights of convolutions (out, in, height, width) have their input channels last in memory, as its
    kernels need them: otherwise each pass would reorder them first.
    """
    stacked = tensors[0].data.unsqueeze(0) if len(tensors) == 1 else torch.stack([tensor.data for tensor in tensors])
    if stacked.dim() == 5 and stacked.device.type == "cpu":
        stacked = stacked.movedim(2, -1).contiguous().movedim(-1, 2)
    for tensor, row in zip(tensors, stacked.unbind(), strict=True):
        tensor.data = row
    return stacked


def expand(value_P: Tensor, like: Tensor) -> Tensor:
    """(P,) to (P, 1, ...) with as many axes as the other tensor."""
    return value_P.view(-1, *[1] * (like.dim() - 1))


def named_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers by path, a shared one under each of its paths."""
    return [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]


def check_alike(first: Mapping[str, nn.Module], other: Mapping[str, nn.Module]) -> None:
    """Raise ValueError where two members cannot share one program."""
    if list(first) != list(other):
        raise ValueError(f"members have the networks {list(first)} and {list(other)}")
    for name in first:
        ours, theirs = (list(member[name].named_modules()) for member in (first, other))
        if [(path, type(module)) for path, module in ours] != [(path, type(module)) for path, module in theirs]:
            raise ValueError(f"{name}: members differ in their layers")
        for (path, module), (_, twin) in zip(ours, theirs, strict=True):
            where = f"{name}.{path}".rstrip(".")
            if isinstance(module, REFUSED):
                raise ValueError(f"{where}: {type(module).__name__} cannot be stacked")
            shapes, twins = ([tensor.shape for _, tensor in named_tensors(m)] for m in (module, twin))
            if shapes != twins:
                raise ValueError(f"{where}: members differ in shape, {shapes} and {twins}")
            for key, value in _attributes(module).items():
                if _attributes(twin)[key] != value:
                    raise ValueError(
                        f"{where}.{key} is {value} and {_attributes(twin)[key]}: keep a number that members differ in"
                        " as a buffer"
                    )


def _attributes(module: nn.Module) -> dict[str, Any]:
    """A module's plain values: those besides its tensors and layers."""
    plain = {key: value for key, value in vars(module).items() if isinstance(value, int | float | str | tuple | None)}
    return {key: value for key, value in plain.items() if key != "training"}


def _empty(module: nn.Module) -> nn.Module:
    """The module without memory: a shape to call with other weights."""
    return copy.deepcopy(module).to("meta")
