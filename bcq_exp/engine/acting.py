"""P policies of one shape that act together.

Shape suffixes: P members, M of them that act, N observations of each, A number of actions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap

from bcq_exp.algorithms.form import Tensors
from bcq_exp.engine.stacking import Stack
from bcq_exp.policies import Policy
from bcq_exp.policies.acting import explored
from bcq_exp.policies.batches import to_tensor

# Microseconds of one core for the actions of a member in 10 environments, two hidden layers of 256, as one program and
# one by one: discrete BCQ's 242 and 229 for 4 members, 173 and 227 for 6, 180 and 288 for 16, 148 and 295 for 64; those
# of TD3+BC 149 and 117, 110 and 134, 71 and 124, 70 and 138.
FEWEST = 6
AT_ONCE = 32  # members, which bounds the environments that are open at the same time
# BEAR's for 16 members with 16 candidates a state: 485 and 598, with 32: 852 and 852, BCQ's with 100: 6,470 and 4,960.
MOST_CANDIDATES = 16


class ActingPopulation:
    """Policies that choose actions together in evaluation mode, as `evaluate_together` uses them.

    Each draws its acting noise from its own stream, as it would alone. Its actions are those that it would choose
    alone, up to rounding: of many numbers a processor computes `tanh` and the like in another way than of few.

    Args:
        policies: of one algorithm, one shape and one action space.
        nets: their networks.
    """

    def __init__(self, policies: Sequence[Policy], nets: Stack) -> None:
        self.policies, self.nets, self.first = list(policies), nets, policies[0]
        self.hp = {name: torch.stack([policy.hp[name] for policy in policies]) for name in self.first.hp}
        is_stacked = len(self.policies) >= FEWEST and is_quicker_stacked(self.first)
        self.num_at_once = min(len(self.policies), AT_ONCE) if is_stacked else 1
        self._known = list(range(len(self.policies)))  # the members of the two following ones
        self._weights, self._hp = nets.tensors, self.hp

    def seed_acting(self, seeds: Mapping[int, int]) -> None:
        """Restart the random streams of the given members' acting noise."""
        for member, seed in seeds.items():
            self.policies[member].seed_acting(seed)

    @torch.inference_mode()
    def compute_actions(
        self, members: Sequence[int], obs: NDArray[Any], *, mask: NDArray[Any] | None = None
    ) -> NDArray[np.generic]:
        """The actions for an environment's `step`, in its units: exploration and bounds included.

        Args:
            members: M of the policies.
            obs: of each, (M, N, *S).
            mask: 1 for available actions, 0 for others, (M, N, A); None: all are available.

        Returns:
            (M, N, ...).

        Raises:
            ValueError: a mask of another shape, a row without an available action, or a mask for continuous actions.
        """
        shape, space = obs.shape[:2], self.first.action_space
        columns = {"obs": to_tensor(obs, self.first.device)}
        if mask is not None:
            available = self.first.action_map.available(mask.reshape(-1, *mask.shape[2:]))
            columns["mask"] = torch.as_tensor(available.reshape(mask.shape), device=self.first.device)
        noise, exploration = (
            _stacked([draw(self.policies[member], shape[1]) for member in members]) for draw in (_noise, _exploration)
        )
        inputs = columns, noise, exploration
        if self.num_at_once > 1 and len(members) >= FEWEST:
            act = vmap(self._act_on_weights)(*self._stacks(members), *inputs)
        else:
            act = torch.stack([self._act_alone(member, *_row(inputs, row)) for row, member in enumerate(members)])
        return self.first.in_environment(act.flatten(0, 1)).reshape(*shape, *(space.shape or ()))

    def _stacks(self, members: Sequence[int]) -> tuple[Tensors, Tensors]:
        """The stacked weights and hyperparameters of some members."""
        if list(members) != self._known:
            rows = torch.tensor(members, device=self.first.device)
            self._weights = {key: tensor[rows] for key, tensor in self.nets.tensors.items()}
            self._hp = {key: tensor[rows] for key, tensor in self.hp.items()}
            self._known = list(members)
        return self._weights, self._hp

    def _act_on_weights(
        self, weights: Tensors, hp: Tensors, columns: Tensors, noise: Tensors, exploration: Tensors
    ) -> Tensor:
        return self._act(self.nets.bind(weights), hp, columns, noise, exploration)

    def _act_alone(self, member: int, columns: Tensors, noise: Tensors, exploration: Tensors) -> Tensor:
        policy = self.policies[member]
        nets: Mapping[str, Callable[..., Any]] = dict(policy.nets.items())
        if self.nets.shared:  # bound networks run a trunk that they share once
            nets = self.nets.bind({key: tensor[member] for key, tensor in self.nets.tensors.items()})
        return self._act(nets, policy.hp, columns, noise, exploration)

    def _act(
        self,
        nets: Mapping[str, Callable[..., Any]],
        hp: Tensors,
        columns: Tensors,
        noise: Tensors,
        exploration: Tensors,
    ) -> Tensor:
        """One member's actions in policy units, (N,) or (N, A)."""
        seen = {name: self.first.view(name, net) for name, net in nets.items()}
        act = self.first.algorithm.act(seen, columns, noise, hp)["act"]
        return explored(act, columns, exploration, hp) if exploration else act


def is_quicker_stacked(policy: Policy) -> bool:
    """Whether policies of this shape act more quickly as one program than one by one.

    On a CPU those with convolutions do not: 5.1 ms a member in place of 4.9.
    """
    has_images = any(isinstance(module, nn.Conv2d) for module in policy.nets.modules())
    return policy.algorithm.num_candidates <= MOST_CANDIDATES and not (has_images and policy.device.type == "cpu")


def _noise(policy: Policy, num_rows: int) -> Tensors:
    return policy.draw(num_rows)


def _exploration(policy: Policy, num_rows: int) -> Tensors:
    return policy.draw_exploration(num_rows) if policy.explores else {}


def _stacked(rows: Sequence[Tensors]) -> Tensors:
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def _row(groups: Sequence[Tensors], row: int) -> list[Tensors]:
    return [{key: tensor[row] for key, tensor in tensors.items()} for tensors in groups]
