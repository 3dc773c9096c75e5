"""Our updates on the weights, minibatches and noise of golden values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim import Adam

from bcq_exp.algorithms.form import Algorithm, Draw, Loss, Nets, Stage, Tensors
from bcq_exp.policies import Policy
from bcq_exp.training.experiment import fresh_policy
from experiments.benchmark.agreement import default
from experiments.parity.cases import Case
from experiments.parity.golden import COMPARED_AFTER, Golden


@dataclass(frozen=True)
class Stated(Draw):
    """Random numbers that are given, (B, *shape), and clipped as drawn ones would be."""

    value: Tensor = field(kw_only=True)

    def sample(self, num_rows: int, generator: torch.Generator) -> Tensor:
        """The given numbers; the random stream stays where it is."""
        if self.value.shape != (num_rows, *self.shape):
            raise ValueError(f"noise of shape {tuple(self.value.shape)} is given, {(num_rows, *self.shape)} needed")
        return self.value if self.clip is None else self.value.clamp(-self.clip, self.clip)


def replay(case: Case, golden: Golden) -> dict[str, Tensor]:
    """Make the golden updates with our code; returns losses and weights by the names of `Golden.results`.

    Raises:
        ValueError: the golden values lack a tensor that our networks or losses have, or have one that ours lack.
    """
    with default(golden.dtype):
        policy = fresh_policy(case.config(), torch.device("cpu"))
        algorithm, losses = policy.algorithm, Losses(golden.num_updates)
        check_noise(algorithm, golden)
        load(policy.nets, golden.under("weights/0"))
        load(policy.targets, golden.under("targets/0"))
        if case.rates:
            give_rates(policy, case.rates)
        weights: dict[str, Tensor] = {}
        for update in range(golden.num_updates):
            policy.algorithm = stated(algorithm, golden, update, losses)
            policy.walk(columns(golden, update))
            if policy.lr_scheduler is not None:
                policy.lr_scheduler.step()
            if (num := update + 1) in COMPARED_AFTER:
                for kind, modules in (("weights", policy.nets), ("targets", policy.targets)):
                    weights |= {f"{kind}/{num}/{key}": param.clone() for key, param in parameters(modules)}
        return weights | {f"loss/{key}": losses.of(key) for key in golden.under("loss")}


class Losses:
    """Losses and metrics of stages, written down update by update."""

    def __init__(self, num_updates: int) -> None:
        self.num_updates = num_updates
        self.values: dict[tuple[str, int], Tensor] = {}

    def of(self, key: str) -> Tensor:
        """All updates' values (U,) of `STAGE/NAME`; NaN where there is none."""
        nothing = torch.tensor(torch.nan)
        return torch.stack([self.values.get((key, update), nothing) for update in range(self.num_updates)])

    def written(self, stage: int, loss: Loss, update: int) -> Loss:
        """The same loss, which also writes down what it returns."""

        def writing(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
            total, metrics = loss(nets, targets, batch, noise, hp)
            for name, value in {"total": total, **metrics}.items():
                self.values[f"{stage}/{name}", update] = value.detach().clone()
            return total, metrics

        return writing


def check_noise(algorithm: Algorithm, golden: Golden) -> None:
    """Raise ValueError where a loss takes random numbers that are not given, or leaves given ones."""
    taken = {f"{number}/{name}" for number, stage in enumerate(algorithm.stages) for name in stage.noise}
    if taken != golden.under("noise").keys():
        raise ValueError(
            f"random numbers are ours or the golden ones alone: {sorted(taken ^ golden.under('noise').keys())}"
        )


def parameters(modules: nn.ModuleDict) -> Iterator[tuple[str, Tensor]]:
    """Weights of networks, named `NETWORK/KEY`."""
    for name, module in modules.items():
        yield from ((f"{name}/{key}", param.detach()) for key, param in module.named_parameters())


def load(modules: nn.ModuleDict, weights: Mapping[str, Tensor]) -> None:
    """Give networks their weights: all of them, and no others."""
    held = dict(parameters(modules))
    if held.keys() != weights.keys():
        raise ValueError(f"weights are ours or the golden ones alone: {sorted(held.keys() ^ weights.keys())}")
    for key, param in held.items():
        if param.shape != weights[key].shape:
            raise ValueError(f"{key} has shape {tuple(param.shape)}, the golden one {tuple(weights[key].shape)}")
        param.copy_(weights[key])


def give_rates(policy: Policy, rates: Mapping[str, float]) -> None:
    """Have each network learn by an Adam of its own, the named ones at their rates."""
    own = {name: rates.get(name, optimizer.param_groups[0]["lr"]) for name, optimizer in policy.optimizers.items()}
    policy.optimizers = {name: Adam(policy.nets[name].parameters(), lr=rate) for name, rate in own.items()}


def columns(golden: Golden, update: int) -> dict[str, Tensor]:
    """The minibatch of an update as losses take it."""
    batch = {key: column[update] for key, column in golden.under("batch").items()}
    return {**batch, "rew": batch["rew"].unsqueeze(-1), "num_steps": torch.ones(len(batch["rew"]), dtype=torch.int64)}


def stated(algorithm: Algorithm, golden: Golden, update: int, losses: Losses) -> Algorithm:
    """The algorithm with the noise of an update in place of draws, and its losses written down."""

    def stage_of(number: int, stage: Stage) -> Stage:
        noise = {
            name: Stated(draw.dist, draw.shape, draw.clip, value=golden.tensors[f"noise/{number}/{name}"][update])
            for name, draw in stage.noise.items()
        }
        return replace(stage, noise=noise, loss=losses.written(number, stage.loss, update))

    return replace(algorithm, stages=tuple(stage_of(*each) for each in enumerate(algorithm.stages)))
