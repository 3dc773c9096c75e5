"""Networks fitted to a dataset by the engine that trains policies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bcq_exp.algorithms.form import Algorithm
from bcq_exp.data import ReplayBuffer
from bcq_exp.engine.launches import updates_per_launch_of
from bcq_exp.engine.machine import AUTO
from bcq_exp.engine.population import Population
from bcq_exp.io.progress import Progress
from bcq_exp.policies import Policy, normalize_observations
from bcq_exp.policies.normalization import standardized
from bcq_exp.policies.schedulers import Scheduler

Watch = Callable[[str], object]
STRIDE = 100  # updates between two lines of progress


@dataclass(frozen=True)
class Fitting:
    """How networks are fitted to a dataset.

    Args:
        make_optimizer: makes the optimizer of a network's parameters.
        make_schedule: makes the schedule of an optimizer's rate; returns None where the rate is constant.
        num_updates: of every fit.
        batch_size: rows of a minibatch.
        seed: of initial weights and minibatches. All members of a population get the same ones, so they differ only in
            what they are fitted to.
        is_compiled: run the update as one compiled graph.
        device: of networks and minibatches.
        action_space: of the environment.
        statistics: mean and deviation (S,) by which observations are standardised for the networks; None leaves them
            as they are.
        obs_eps: added to the deviation.
        watch: called with a line of progress; it may raise. None shows a bar.
    """

    make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    make_schedule: Callable[[Optimizer], Scheduler | None]
    num_updates: int
    batch_size: int
    seed: int
    is_compiled: bool
    device: torch.device
    action_space: gym.Space[Any]
    statistics: tuple[Any, Any] | None
    obs_eps: float
    watch: Watch | None = None

    def initialised(
        self,
        algorithm: Algorithm,
        name: str,
        make_net: Callable[[], nn.Module],
        held: Mapping[str, nn.Module],
        hp: Mapping[str, float],
    ) -> Policy:
        """Make the policy that `fit` trains: an algorithm and one network with its initial weights.

        Args:
            algorithm: its stages train that network.
            name: of the network.
            make_net: makes the network.
            held: networks that are not trained, by name.
            hp: the algorithm's hyperparameters.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            net = make_net().to(self.device)
            optimizer = self.make_optimizer(net.parameters())
            policy = Policy(
                algorithm=algorithm,
                nets={name: net, **held},
                optimizers={name: optimizer},
                hp=hp,
                action_space=self.action_space,
                device=self.device,
                action_bound_method=None,
                lr_scheduler=self.make_schedule(optimizer),
            )
        if self.statistics is not None:
            normalize_observations(policy, *self.statistics, eps=self.obs_eps)
        return policy

    def fit(self, policies: Sequence[Policy], buffer: ReplayBuffer, description: str) -> list[bool]:
        """Train policies in place, as one population; return whether each member's loss stayed finite.

        Args:
            policies: made by `initialised`.
            buffer: the dataset.
            description: shown with the progress.
        """
        population = Population(
            policies,
            buffer,
            [torch.Generator(self.device).manual_seed(self.seed) for _ in policies],
            batch_size=self.batch_size,
            is_compiled=self.is_compiled,
            precision="fp32",
            growth=None,
            num_threads=torch.get_num_threads(),
            updates_per_launch=updates_per_launch_of(AUTO),
        )
        bar = Progress(self.num_updates, 0, description, len(policies)) if self.watch is None else nullcontext()
        with bar as progress:
            while (done := population.num_updates) < self.num_updates:
                if self.watch is not None:
                    self.watch(f"{description}: {done} of {self.num_updates} updates")
                population.advance(min(STRIDE, self.num_updates - done))
                if progress is not None:
                    num_failed = sum(failed_at is not None for failed_at in population.failures())
                    metrics, compiling = population.read_metrics()[0], population.compile_seconds
                    progress.advance(population.num_updates, metrics, [], num_failed, compiling)
        return [failed_at is None for failed_at in population.failures()]


def as_seen(policy: Policy, obs_B: Any) -> Tensor:
    """Observations (B, *S) as the networks of a fitted policy see them: standardised, on its device."""
    obs = torch.as_tensor(obs_B, device=policy.device, dtype=torch.get_default_dtype())
    return standardized({"obs": obs}, policy.hp)["obs"]
