"""Discrete BCQ as a documented class.

Shape suffix: B batch.
"""

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bcq_exp.algorithms import discrete_bcq, dqn
from bcq_exp.data import Batch, ReplayBuffer
from bcq_exp.fields import violations
from bcq_exp.policies.base import Policy
from bcq_exp.policies.batches import training_columns
from bcq_exp.policies.normalization import standardized
from bcq_exp.policies.schedulers import Scheduler
from bcq_exp.policies.stats import DiscreteBCQTrainingStats


class DiscreteBCQPolicy(Policy):
    """Batch-Constrained deep Q-learning for discrete actions (arXiv:1910.01708).

    Args:
        model: obs to Q values (B, A); it may return the pair (output, state).
        imitator: obs to raw logits (B, A); likewise. It may share layers with `model`.
        optim: holds the parameters of both.
        action_space: Discrete.
        discount_factor: in [0, 1].
        estimation_step: n of the n-step target, which ends where its episode ends.
        target_update_freq: updates between two hard copies of the target network; 0: no target network.
        eval_eps: probability of a random available action in evaluation.
        unlikely_action_threshold: in [0, 1]; an action is kept where its imitation probability divided by the largest
            reaches it. 0 is (double) Q-learning, 1 is behavioural cloning.
        imitation_logits_penalty: weight of the mean squared logit.
        reward_normalization: learn in units of the dataset's discounted returns; needs `prepare(buffer)`.
        is_double: the online network chooses the target's action; otherwise the target network.
        clip_loss_grad: Huber loss instead of the square.
        observation_space: tells a single observation from a batch in `compute_action`.
        lr_scheduler: stepped once an `update`.

    Raises:
        ValueError: a number outside its range, a space that is not Discrete, a parameter that `optim` does not hold.

    Departs from well-known implementations: the rule of likely actions holds in the target too, and logits are raw.
    The device is that of the model's parameters.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        imitator: nn.Module,
        optim: Optimizer,
        action_space: gym.Space[Any],
        discount_factor: float = 0.99,
        estimation_step: int = 1,
        target_update_freq: int = 8000,
        eval_eps: float = 0.001,
        unlikely_action_threshold: float = 0.3,
        imitation_logits_penalty: float = 0.01,
        reward_normalization: bool = False,
        is_double: bool = True,
        clip_loss_grad: bool = False,
        observation_space: gym.Space[Any] | None = None,
        lr_scheduler: Scheduler | None = None,
    ) -> None:
        numbers = {
            "gamma": discount_factor,
            "eval_eps": eval_eps,
            "unlikely_action_threshold": unlikely_action_threshold,
            "imitation_logits_penalty": imitation_logits_penalty,
        }
        errors = violations(
            discrete_bcq.DiscreteBCQConfig,
            numbers | {"estimation_step": estimation_step, "target_update_freq": target_update_freq},
        )
        if errors:
            raise ValueError("; ".join(errors).replace("gamma=", "discount_factor="))
        if not isinstance(action_space, gym.spaces.Discrete):
            raise ValueError(f"DiscreteBCQPolicy needs Discrete actions, found {action_space}; see BCQPolicy")
        super().__init__(
            algorithm=discrete_bcq.build(
                num_quantiles=None,
                is_double=is_double,
                clip_loss_grad=clip_loss_grad,
                target_update_freq=target_update_freq,
                estimation_step=estimation_step,
                reward_normalization=reward_normalization,
            ),
            nets={"model": model, "imitator": imitator},
            optimizers={"model": optim, "imitator": optim},
            hp=numbers,
            action_space=action_space,
            observation_space=observation_space,
            device=next(model.parameters()).device,
            lr_scheduler=lr_scheduler,
        )
        self.is_double = is_double

    @torch.no_grad()
    def process_fn(self, batch: Batch, buffer: ReplayBuffer, indices: Tensor) -> Batch:
        """The batch with `returns` (B,), its n-step targets in reward units."""
        window = training_columns(buffer.window(indices, self.algorithm.num_steps), self.device, is_discrete=True)
        batch_, nets, targets = standardized(window, self.hp), self.losses_view(), self.targets_view()
        y_B = discrete_bcq.bcq_target(nets, targets, batch_, self.hp, is_double=self.is_double)
        return Batch(**batch, returns=dqn.denormalize(y_B, self.hp))

    def _stats(self, losses: dict[str, float], train_time: float) -> DiscreteBCQTrainingStats:
        return DiscreteBCQTrainingStats(train_time=train_time, smoothed_loss=dict(self.smoothed_loss), **losses)
