"""Acting: a policy's networks, its rule of action, and actions in the units of the environment.

Shape suffixes: B batch, A number of discrete actions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from bcq_exp.algorithms.form import Algorithm, Draw, Tensors
from bcq_exp.data import Batch
from bcq_exp.ops.discrete import epsilon_greedy
from bcq_exp.policies.actions import ActionMap
from bcq_exp.policies.batches import check_masks, observation_columns
from bcq_exp.policies.net import Net


class Acting(nn.Module):
    """A policy that acts and does not learn.

    Args:
        algorithm, nets, hp, action_space, observation_space, device, action_scaling, action_bound_method: see `Policy`.

    Raises:
        ValueError: a hyperparameter is missing or unknown, or the space does not fit: see `ActionMap`.
    """

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        nets: Mapping[str, nn.Module],
        hp: Mapping[str, float],
        action_space: gym.Space[Any],
        observation_space: gym.Space[Any] | None,
        device: str | torch.device,
        action_scaling: bool,
        action_bound_method: str | None,
    ) -> None:
        super().__init__()
        if set(hp) != algorithm.swept:
            raise ValueError(f"hyperparameters {sorted(hp)} given, {sorted(algorithm.swept)} needed")
        self.algorithm = algorithm
        self.action_map = ActionMap(
            action_space, action_scaling=action_scaling, action_bound_method=action_bound_method
        )
        self.action_space, self.observation_space = action_space, observation_space
        self.device = torch.device(device)
        self.nets = nn.ModuleDict(nets).to(self.device)
        for name in sorted(algorithm.swept) + list(algorithm.statistics):
            value = torch.tensor(hp.get(name, torch.nan), dtype=torch.get_default_dtype(), device=self.device)
            self.register_buffer(name, value)
        self.acting_noise = torch.Generator(self.device)

    @property
    def hp(self) -> dict[str, Tensor]:
        """Hyperparameters and dataset statistics by name, as losses take them; hyperparameters are 0-d."""
        return {name: getattr(self, name) for name in (*self.algorithm.swept, *self.algorithm.statistics)}

    def seed_acting(self, seed: int) -> None:
        """Restart the random stream of acting noise; that of learning noise continues."""
        self.acting_noise.manual_seed(seed)

    def losses_view(self, state: Any = None) -> dict[str, Net]:
        """The networks as losses call them; recurrent ones get `state`."""
        return {name: self.view(name, module, state) for name, module in self.nets.items()}

    def view(self, name: str, module: Callable[..., Any], state: Any = None) -> Net:
        """One network as losses call it."""
        is_recurrent = name in self.algorithm.recurrent
        return Net(
            module,
            is_scalar=name in self.algorithm.scalar,
            is_recurrent=is_recurrent,
            state=state if is_recurrent else None,
        )

    def draw(self, num_rows: int) -> dict[str, Tensor]:
        """Draw the random inputs of the rule of action, (num_rows, ...) by name, from the stream of acting noise."""
        return {key: draw.sample(num_rows, self.acting_noise) for key, draw in self.algorithm.act_noise.items()}

    @property
    def explores(self) -> bool:
        """Whether the algorithm explores in evaluation mode."""
        return "eval_eps" in self.algorithm.swept

    def draw_exploration(self, num_rows: int) -> dict[str, Tensor]:
        """Draw the random inputs of `explored` from the stream of acting noise."""
        draws = {"whether": Draw("uniform", ()), "where": Draw("uniform", (self.action_map.act_dim,))}
        return {key: draw.sample(num_rows, self.acting_noise) for key, draw in draws.items()}

    @torch.inference_mode()
    def forward(self, batch: Any, state: Any = None, **kwargs: Any) -> Batch:
        """The policy's actions, without exploration, for a batch of observations.

        Args:
            batch: any object with `obs` (B, *S), or `obs.obs` and `obs.mask`, the available actions (B, A).
            state: of recurrent networks, or None.
            **kwargs: ignored.

        Returns:
            `act` in policy units, the algorithm's other outputs, and `state`.

        Raises:
            ValueError: there is a mask, and the actions are continuous.
        """
        columns, nets = observation_columns(batch, "obs", self.device), self.losses_view(state)
        check_masks(columns, is_discrete=self.action_map.is_discrete)
        out = self.algorithm.act(nets, columns, self.draw(len(columns["obs"])), self.hp)
        states = [nets[name].state_next for name in self.algorithm.recurrent]
        return Batch(**out, state=states[0] if states else None)

    def exploration_noise(self, act: Any, batch: Any) -> Any:
        """Explore in evaluation mode: with probability `eval_eps` a random available action instead of `act`.

        In training mode, and for algorithms without `eval_eps`, `act` is returned unchanged.

        Args:
            act: actions (B,), numpy or torch; the result is of the same kind.
            batch: the observations that the actions are for.
        """
        if self.training or not self.explores:
            return act
        greedy_B = torch.as_tensor(act, device=self.device)
        columns = observation_columns(batch, "obs", self.device)
        explored_B = explored(greedy_B, columns, self.draw_exploration(len(greedy_B)), self.hp)
        return explored_B.cpu().numpy() if isinstance(act, np.ndarray) else explored_B

    def map_action(self, act: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert policy units to environment units: see `ActionMap`."""
        return self.action_map.map_action(act)

    def map_action_inverse(self, act: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert environment units to policy units: see `ActionMap`."""
        return self.action_map.map_action_inverse(act)

    def compute_action(self, obs: Any, state: Any = None, mask: ArrayLike | None = None) -> NDArray[np.generic]:
        """The actions for an environment's `step`, in its units: exploration and bounds included.

        Args:
            obs: a batch (B, *S), or one observation (*S) where `observation_space` is known.
            state: of recurrent networks, or None.
            mask: 1 for available actions, 0 for others, (B, A), or (A,) for one observation; None: all are available.

        Raises:
            ValueError: a mask of another shape, a row without an available action, or a mask for continuous actions.
        """
        is_single = self.observation_space is not None and np.ndim(obs) == len(self.observation_space.shape or ())
        batch = Batch(obs=np.asarray(obs)[None] if is_single else obs)
        if mask is not None:
            batch.mask = self.action_map.available(np.asarray(mask)[None] if is_single else mask)
        mapped = self.in_environment(self.exploration_noise(self(batch, state).act, batch))
        return mapped[0] if is_single else mapped

    def in_environment(self, act: Tensor) -> NDArray[np.generic]:
        """Actions in policy units, (B,) or (B, A), as an environment's `step` takes them."""
        values = act.cpu().numpy()
        if not self.action_map.is_discrete:
            values = values.reshape(-1, *(self.action_space.shape or ()))
        return self.map_action(values)


def explored(act_B: Tensor, columns: Tensors, noise: Tensors, hp: Tensors) -> Tensor:
    """With probability `eval_eps` a random available action in place of the given one.

    Args:
        act_B: actions (B,).
        columns: the observations that they are for; `mask` is read.
        noise: see `Acting.draw_exploration`.
        hp: with `eval_eps`, 0-d.
    """
    return epsilon_greedy(act_B, hp["eval_eps"], noise["whether"], noise["where"], columns.get("mask"))
