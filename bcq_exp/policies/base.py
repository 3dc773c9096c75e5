"""A policy: an algorithm, the weights that it trains, and the walk through its stages with `torch.optim`."""

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from bcq_exp.algorithms.form import Algorithm, Draw, Target
from bcq_exp.data import Batch, ReplayBuffer
from bcq_exp.ops.discrete import epsilon_greedy
from bcq_exp.policies import door
from bcq_exp.policies.actions import ActionMap
from bcq_exp.policies.optimizers import check_held, gradient_step, unique
from bcq_exp.policies.schedulers import Scheduler
from bcq_exp.policies.stats import TrainingStats

SMOOTHING = 0.99  # weight of the past in `smoothed_loss`


class Policy(nn.Module):
    """Any algorithm of the registry as a trainable policy.

    Args:
        algorithm: the stages, targets and rule of action.
        nets: the modules by the names that the losses use; they are moved to the device.
        optimizers: an optimizer for each trained network, by the network's name; networks may share one.
        hp: the numbers that the losses take, by name; they become buffers (0-d).
        action_space: of the environment.
        observation_space: of the environment; tells a single observation from a batch in `compute_action`.
        device: where everything lies.
        action_scaling, action_bound_method: see `ActionMap`.
        lr_scheduler: stepped once an `update`.

    Raises:
        ValueError: a hyperparameter is missing, or a trained parameter is held by no optimizer.
    """

    scalar_nets: ClassVar[frozenset[str]] = frozenset({"critic1", "critic2"})
    pair_nets: ClassVar[frozenset[str]] = frozenset({"encoder", "policy"})
    recurrent_nets: ClassVar[frozenset[str]] = frozenset({"model", "imitator"})

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        nets: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        hp: Mapping[str, float],
        action_space: gym.Space[Any],
        observation_space: gym.Space[Any] | None = None,
        device: str | torch.device = "cpu",
        action_scaling: bool = False,
        action_bound_method: str | None = "clip",
        lr_scheduler: Scheduler | None = None,
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
        self.targets = nn.ModuleDict(
            {
                name: copy.deepcopy(self.nets[target.source]).requires_grad_(False)
                for name, target in algorithm.targets.items()
                if target.every
            }
        ).eval()
        self.optimizers = dict(optimizers)
        self.lr_scheduler = lr_scheduler
        for name in sorted(algorithm.swept) + list(algorithm.statistics):
            value = torch.tensor(hp.get(name, torch.nan), dtype=torch.get_default_dtype(), device=self.device)
            self.register_buffer(name, value)
        self.num_updates = 0
        self.updating = False
        self.is_prepared = algorithm.prepare is None
        self.smoothed_loss: dict[str, float] = {}
        self.learning_noise, self.acting_noise = (torch.Generator(self.device) for _ in range(2))
        self.seed(int(torch.randint(2**62, ())))
        check_held(nets, self.optimizers, {name for stage in algorithm.stages for name in stage.trains})

    # ------------------------------------------------------------------ state

    def seed(self, seed: int) -> None:
        """Start the streams of learning noise and acting noise anew."""
        learning, acting = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        self.learning_noise.manual_seed(int(learning))
        self.seed_acting(int(acting))

    def seed_acting(self, seed: int) -> None:
        """Start the stream of acting noise anew; learning noise goes on as it was."""
        self.acting_noise.manual_seed(seed)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; target networks stay in evaluation mode."""
        super().train(mode)
        self.targets.eval()
        return self

    @property
    def hp(self) -> dict[str, Tensor]:
        """The numbers that the losses take, 0-d."""
        return {name: getattr(self, name) for name in (*self.algorithm.swept, *self.algorithm.statistics)}

    def prepare(self, buffer: ReplayBuffer) -> None:
        """Compute what the algorithm wants to know of the dataset, once, before the first update."""
        if self.algorithm.prepare is not None:
            for name, value in self.algorithm.prepare(buffer, self.hp).items():
                getattr(self, name).copy_(value)
            self.is_prepared = True

    def get_extra_state(self) -> Tensor:
        """The counter of updates, which decides when targets are copied, and whether `prepare` was called."""
        return torch.tensor([self.num_updates, self.is_prepared])

    def set_extra_state(self, state: Tensor) -> None:
        """Take a saved counter back."""
        num_updates, is_prepared = state.tolist()
        self.num_updates, self.is_prepared = num_updates, bool(is_prepared)

    def training_state(self) -> dict[str, Any]:
        """All that decides how training goes on: weights, targets, counters, optimizers, schedules, random streams."""
        return {
            "module": self.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in unique(self.optimizers.values())],
            "lr_scheduler": None if self.lr_scheduler is None else self.lr_scheduler.state_dict(),
            "learning_noise": self.learning_noise.get_state(),
            "acting_noise": self.acting_noise.get_state(),
            "smoothed_loss": dict(self.smoothed_loss),
        }

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take a saved `training_state` back."""
        self.load_state_dict(state["module"])
        for optimizer, saved in zip(unique(self.optimizers.values()), state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        self.learning_noise.set_state(state["learning_noise"])
        self.acting_noise.set_state(state["acting_noise"])
        self.smoothed_loss = dict(state["smoothed_loss"])

    # ------------------------------------------------------------------ learning

    def learn(self, batch: Any, *args: Any, **kwargs: Any) -> TrainingStats:
        """One update: every active stage, then the targets that are due.

        Args:
            batch: any object with obs, act (policy units), rew, terminated, truncated, obs_next as keys or attributes;
                `returns`, where it is there, is taken as the target instead of the one made here.
            *args, **kwargs: ignored, for callers that pass a batch size or a number of repetitions.

        Raises:
            ValueError: the batch lacks a column, or the policy needs the dataset's statistics and has none.
        """
        start = time.perf_counter()
        columns = door.columns(batch, self.device, self.algorithm.fields, is_discrete=self.action_map.is_discrete)
        losses = {name: float(value) for name, value in self.walk(columns).items()}
        for name, value in losses.items():
            self.smoothed_loss[name] = SMOOTHING * self.smoothed_loss.get(name, value) + (1 - SMOOTHING) * value
        return self._stats(losses, time.perf_counter() - start)

    def _stats(self, losses: dict[str, float], train_time: float) -> TrainingStats:
        return TrainingStats(train_time=train_time, smoothed_loss=dict(self.smoothed_loss))

    def walk(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One update on checked columns; returns 0-d metrics without waiting for the device."""
        if not self.is_prepared:
            raise ValueError(f"{type(self).__name__} needs the dataset's statistics: call prepare(buffer) first")
        nets, targets, hp, num_rows = self.losses_view(), self.targets_view(), self.hp, len(columns["obs"])
        metrics: dict[str, Tensor] = {}
        for stage in self.algorithm.stages:
            if stage.is_active(self.num_updates):
                noise = {key: draw.sample(num_rows, self.learning_noise) for key, draw in stage.noise.items()}
                loss, measured = stage.loss(nets, targets, columns, noise, hp)
                trained = [self.nets[name] for name in stage.trains]
                gradient_step(loss, trained, [self.optimizers[name] for name in stage.trains])
                metrics |= {name: value.detach() for name, value in measured.items()}
        for name, target in self.algorithm.targets.items():
            if target.is_due(self.num_updates):
                self._synchronise(name, target)
        self.num_updates += 1
        return metrics

    def metric_names(self, columns: Mapping[str, Tensor]) -> list[list[str]]:
        """Names of what each stage reports; no weight and no stream moves."""
        names: list[list[str]] = []
        generator = torch.Generator(self.device)
        with torch.no_grad():
            for stage in self.algorithm.stages:
                noise = {key: draw.sample(len(columns["obs"]), generator) for key, draw in stage.noise.items()}
                names.append(list(stage.loss(self.losses_view(), self.targets_view(), columns, noise, self.hp)[1]))
        return names

    def losses_view(self, state: Any = None) -> dict[str, door.Net]:
        """The networks as losses see them; `state` is handed to recurrent ones."""
        return {name: self.view(name, module, state) for name, module in self.nets.items()}

    def targets_view(self) -> dict[str, door.Net]:
        """The target networks as losses see them; without a copy, the source itself."""
        modules = {
            name: self.targets[name] if target.every else self.nets[target.source]
            for name, target in self.algorithm.targets.items()
        }
        return {name: self.view(name, module) for name, module in modules.items()}

    def view(self, name: str, module: Callable[..., Any], state: Any = None) -> door.Net:
        """One network as losses see it."""
        state = state if name in self.recurrent_nets else None
        return door.Net(module, is_scalar=name in self.scalar_nets, is_pair=name in self.pair_nets, state=state)

    @torch.no_grad()
    def _synchronise(self, name: str, target: Target) -> None:
        slow, fast = self.targets[name], self.nets[target.source]
        for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
            old.copy_(new if target.rate is None else old.lerp(new, self.hp[target.rate]))
        for kept, current in zip(slow.buffers(), fast.buffers(), strict=True):
            kept.copy_(current)

    def sync_weight(self) -> None:
        """Synchronise every target network now: a soft one by its rate, a hard one whole."""
        for name, target in self.algorithm.targets.items():
            if target.every:
                self._synchronise(name, target)

    def process_fn(self, batch: Batch, buffer: ReplayBuffer, indices: Tensor) -> Batch:
        """What `update` makes of a sampled batch before `learn`: a window with what the algorithm wants of it."""
        num_steps, fields = self.algorithm.num_steps, self.algorithm.fields
        return batch if num_steps == 1 and not fields else buffer.window(indices, num_steps, fields)

    def update(self, sample_size: int, buffer: Any, **kwargs: Any) -> TrainingStats:
        """Sample, process, learn, and step the learning-rate schedule.

        Args:
            sample_size: rows; 0 takes the whole buffer.
            buffer: a `ReplayBuffer`, or one of another library that `door.drawn` takes; it raises for others.
            **kwargs: passed on to `learn`.
        """
        batch, indices = door.drawn(buffer, sample_size, self.algorithm.num_steps, self.algorithm.fields)
        if isinstance(buffer, ReplayBuffer):
            batch = self.process_fn(batch, buffer, indices)
        self.updating = True
        try:
            stats = self.learn(batch, **kwargs)
        finally:
            self.updating = False
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        return stats

    # ------------------------------------------------------------------ acting

    @torch.inference_mode()
    def forward(self, batch: Any, state: Any = None, **kwargs: Any) -> Batch:
        """The policy's actions, without exploration, for a batch of observations.

        Args:
            batch: any object with `obs` (B, *S), or `obs.obs` and `obs.mask`, the available actions (B, A).
            state: of recurrent models, or None.
            **kwargs: ignored.

        Returns:
            `act` in policy units, what else the algorithm reports, and `state`.
        """
        columns, nets = door.observation(batch, "obs", self.device), self.losses_view(state)
        num_rows = len(columns["obs"])
        noise = {key: draw.sample(num_rows, self.acting_noise) for key, draw in self.algorithm.act_noise.items()}
        out = self.algorithm.act(nets, columns, noise, self.hp)
        return Batch(**out, state=next(iter(nets.values())).state_next)

    def exploration_noise(self, act: Any, batch: Any) -> Any:
        """Discrete actions in evaluation mode: with probability `eval_eps` an available one at random; else `act`.

        Args:
            act: actions (B,), numpy or torch; the same kind comes back.
            batch: what the actions were made from.
        """
        if self.training or "eval_eps" not in self.algorithm.swept:
            return act
        greedy_B = torch.as_tensor(act, device=self.device)
        mask_BA = door.observation(batch, "obs", self.device).get("mask")
        uniform_B = Draw("uniform", ()).sample(len(greedy_B), self.acting_noise)
        uniform_BA = Draw("uniform", (self.action_map.act_dim,)).sample(len(greedy_B), self.acting_noise)
        explored_B = epsilon_greedy(greedy_B, self.hp["eval_eps"], uniform_B, uniform_BA, mask_BA)
        return explored_B.cpu().numpy() if isinstance(act, np.ndarray) else explored_B

    def map_action(self, act: NDArray[np.generic]) -> NDArray[np.generic]:
        """Policy units to environment units."""
        return self.action_map.map_action(act)

    def map_action_inverse(self, act: NDArray[np.generic]) -> NDArray[np.generic]:
        """Environment units to policy units."""
        return self.action_map.map_action_inverse(act)

    def compute_action(self, obs: Any, state: Any = None) -> NDArray[np.generic]:
        """Actions in environment units, as an environment's `step` takes them.

        Args:
            obs: a batch (B, *S), or one observation (*S) where `observation_space` is known.
            state: of recurrent models, or None.
        """
        is_single = self.observation_space is not None and np.ndim(obs) == len(self.observation_space.shape or ())
        batch = Batch(obs=np.asarray(obs)[None] if is_single else obs)
        act = self.exploration_noise(self(batch, state).act, batch).cpu().numpy()
        if not self.action_map.is_discrete:
            act = act.reshape(-1, *(self.action_space.shape or ()))
        mapped = self.map_action(act)
        return mapped[0] if is_single else mapped
