"""A policy that learns: an algorithm's stages, walked with `torch.optim`."""

import copy
import time
from collections.abc import Mapping
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bcq_exp.algorithms.form import Algorithm, Target
from bcq_exp.data import Batch, ReplayBuffer
from bcq_exp.policies import batches
from bcq_exp.policies.acting import Acting
from bcq_exp.policies.net import Net
from bcq_exp.policies.optimizers import check_held, gradient_step, regrouped, unique
from bcq_exp.policies.schedulers import Scheduler
from bcq_exp.policies.stats import TrainingStats

SMOOTHING = 0.99  # weight of the past in `smoothed_loss`


class Policy(Acting):
    """Any algorithm of the registry as a trainable policy.

    Args:
        algorithm: the stages, targets and rule of action.
        nets: the modules by the names that the losses use; they are moved to the device.
        optimizers: an optimizer for each trained network, by the network's name; networks may share one.
        hp: hyperparameters by name; they become buffers (0-d).
        action_space: of the environment.
        observation_space: of the environment; tells a single observation from a batch in `compute_action`.
        device: of all tensors.
        action_scaling, action_bound_method: see `ActionMap`.
        lr_scheduler: stepped once an `update`.

    Raises:
        ValueError: a hyperparameter is missing or unknown, no optimizer holds a trained parameter, or the action space
            does not fit: see `ActionMap`.
    """

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
        super().__init__(
            algorithm=algorithm,
            nets=nets,
            hp=hp,
            action_space=action_space,
            observation_space=observation_space,
            device=device,
            action_scaling=action_scaling,
            action_bound_method=action_bound_method,
        )
        self.targets = nn.ModuleDict(
            {
                name: copy.deepcopy(self.nets[target.source]).requires_grad_(False)
                for name, target in algorithm.targets.items()
                if target.every
            }
        ).eval()
        self.optimizers = dict(optimizers)
        self.lr_scheduler = lr_scheduler
        self.num_updates = 0
        self.updating = False
        self.is_prepared = algorithm.prepare is None
        self.smoothed_loss: dict[str, float] = {}
        self.learning_noise = torch.Generator(self.device)
        self.seed(int(torch.randint(2**62, ())))
        check_held(nets, self.optimizers, {name for stage in algorithm.stages for name in stage.trains})

    # ------------------------------------------------------------------ state

    def seed(self, seed: int) -> None:
        """Restart the random streams of learning noise and acting noise."""
        learning, acting = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        self.learning_noise.manual_seed(int(learning))
        self.seed_acting(int(acting))

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; target networks stay in evaluation mode."""
        super().train(mode)
        self.targets.eval()
        return self

    def prepare(self, buffer: ReplayBuffer) -> None:
        """Compute the algorithm's statistics of the dataset, once, before the first update."""
        if self.algorithm.prepare is not None:
            for name, value in self.algorithm.prepare(buffer, self.hp).items():
                getattr(self, name).copy_(value)
            self.is_prepared = True

    def get_extra_state(self) -> Tensor:
        """The number of updates, by which targets are copied, and whether `prepare` was called."""
        return torch.tensor([self.num_updates, self.is_prepared])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the saved number of updates."""
        num_updates, is_prepared = state.tolist()
        self.num_updates, self.is_prepared = num_updates, bool(is_prepared)

    def training_state(self) -> dict[str, Any]:
        """The state that training resumes from: weights, targets, counters, optimizers, schedules, random streams."""
        return {
            "module": self.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in unique(self.optimizers.values())],
            "lr_scheduler": None if self.lr_scheduler is None else self.lr_scheduler.state_dict(),
            "learning_noise": self.learning_noise.get_state(),
            "acting_noise": self.acting_noise.get_state(),
            "smoothed_loss": dict(self.smoothed_loss),
        }

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Restore a saved `training_state`.

        Raises:
            ValueError: its optimizers hold other parameters.
        """
        optimizers, saved, schedule = unique(self.optimizers.values()), state["optimizers"], state["lr_scheduler"]
        if len(saved) != len(optimizers):
            saved = regrouped(saved, optimizers)
            schedule = schedule and {str(number): schedule["0"] for number in range(len(optimizers))}
        self.load_state_dict(state["module"])
        for optimizer, own in zip(optimizers, saved, strict=True):
            optimizer.load_state_dict(own)
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(schedule)
        self.learning_noise.set_state(state["learning_noise"])
        self.acting_noise.set_state(state["acting_noise"])
        self.smoothed_loss = dict(state["smoothed_loss"])

    # ------------------------------------------------------------------ learning

    def learn(self, batch: Any, *args: Any, **kwargs: Any) -> TrainingStats:
        """One update: every active stage, then the targets that are due.

        Args:
            batch: any object with obs, act (policy units), rew, terminated, truncated, obs_next as keys or attributes;
                `returns`, if present, replaces the target.
            *args, **kwargs: ignored, for callers that pass a batch size or a number of repetitions.

        Raises:
            ValueError: the batch lacks a column, or the policy needs the dataset's statistics and has none.
        """
        start = time.perf_counter()
        columns = batches.training_columns(
            batch, self.device, self.algorithm.fields, is_discrete=self.action_map.is_discrete
        )
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
        """Names of each stage's metrics; weights and random streams stay as they are."""
        names: list[list[str]] = []
        generator = torch.Generator(self.device)
        with torch.no_grad():
            for stage in self.algorithm.stages:
                noise = {key: draw.sample(len(columns["obs"]), generator) for key, draw in stage.noise.items()}
                names.append(list(stage.loss(self.losses_view(), self.targets_view(), columns, noise, self.hp)[1]))
        return names

    def targets_view(self) -> dict[str, Net]:
        """The target networks as losses call them; a target without a copy is its source."""
        modules = {
            name: self.targets[name] if target.every else self.nets[target.source]
            for name, target in self.algorithm.targets.items()
        }
        return {name: self.view(name, module) for name, module in modules.items()}

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
        """The batch that `update` passes to `learn`: a window if the algorithm needs several steps or more columns."""
        num_steps, fields = self.algorithm.num_steps, self.algorithm.fields
        return batch if num_steps == 1 and not fields else buffer.window(indices, num_steps, fields)

    def update(self, sample_size: int, buffer: Any, **kwargs: Any) -> TrainingStats:
        """Sample, process, learn, and step the learning-rate schedule.

        Args:
            sample_size: rows; 0 takes the whole buffer.
            buffer: a `ReplayBuffer`, or one of another library that `batches.sample` takes; it raises for others.
            **kwargs: passed on to `learn`.
        """
        batch, indices = batches.sample(buffer, sample_size, self.algorithm.num_steps, self.algorithm.fields)
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
