"""The statistics that one update returns."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class TrainingStats:
    """Statistics of any policy's update.

    Args:
        train_time: seconds that the update took.
        smoothed_loss: exponential moving average of each loss over the updates so far.
    """

    train_time: float = 0.0
    smoothed_loss: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class BCQTrainingStats(TrainingStats):
    """Statistics of continuous BCQ: the loss of each network before its step."""

    actor_loss: float
    critic1_loss: float
    critic2_loss: float
    vae_loss: float


@dataclass(kw_only=True)
class DiscreteBCQTrainingStats(TrainingStats):
    """Statistics of discrete BCQ: the whole loss and its terms; `reg_loss` is before its weight."""

    loss: float
    q_loss: float
    i_loss: float
    reg_loss: float
