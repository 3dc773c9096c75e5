"""The update of discrete BCQ in the form that its authors published (arXiv:1910.01708), in plain eager torch.

One network with a Q stream and an imitation stream, which share the convolutions on images and nothing on vectors; each
forward pass runs both streams, that of the target network too. Minibatches are rows of numpy arrays. Images go in as
floats in [0, 255].
"""

import copy
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmark.peers.protocol import Prepared, Work, repeat, serve


def linear(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes, rectified but for the last."""
    layers: list[nn.Module] = [nn.Linear(sizes[0], sizes[1])]
    for fan_in, fan_out in pairwise(sizes[1:]):
        layers += [nn.ReLU(), nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)


class Streams(nn.Module):
    """Q values, log-probabilities and logits of an observation's actions."""

    def __init__(self, obs_shape: tuple[int, ...], hidden_sizes: list[int], num_actions: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Identity())
        if len(obs_shape) > 1:
            self.trunk = nn.Sequential(
                nn.Conv2d(obs_shape[0], 32, 8, stride=4), nn.ReLU(),
                nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
                nn.Conv2d(64, 64, 3, stride=1), nn.ReLU(), nn.Flatten(),
            )  # fmt: skip
        num_features = self.trunk(torch.zeros(1, *obs_shape)).shape[1]
        self.q, self.imitation = (linear(num_features, *hidden_sizes, num_actions) for _ in range(2))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.trunk(obs)
        logits = self.imitation(features)
        return self.q(features), F.log_softmax(logits, dim=1), logits


class DiscreteBCQ:
    """Learner and data together."""

    def __init__(self, work: Work) -> None:
        self.columns, self.config, self.device = work.columns(), work.config, work.device
        shape = self.columns["obs"].shape[1:]
        self.net = Streams(shape, work.config["network"]["hidden_sizes"], work.num_actions).to(self.device)
        self.target = copy.deepcopy(self.net)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=work.config["optimizer"]["lr"])
        self.num_updates = 0

    def sample(self) -> dict[str, Tensor]:
        """A minibatch on the device; all but the actions as floats."""
        rows = np.random.randint(len(self.columns["rew"]), size=self.config["batch_size"])
        names = ("obs", "act", "rew", "terminated", "obs_next")
        batch = {name: torch.from_numpy(self.columns[name][rows]).to(self.device) for name in names}
        return {name: column if name == "act" else column.float() for name, column in batch.items()}

    def update(self) -> None:
        """One step of Adam on the sum of the losses."""
        hp: dict[str, Any] = self.config["algorithm"]
        batch = self.sample()
        act_B1 = batch["act"][:, None]
        with torch.no_grad():
            q_BA, log_prob_BA, _ = self.net(batch["obs_next"])
            prob_BA = log_prob_BA.exp()
            is_likely_BA = prob_BA / prob_BA.amax(1, keepdim=True) > hp["unlikely_action_threshold"]
            act_next_B1 = q_BA.where(is_likely_BA, -1e8).argmax(1, keepdim=True)
            q_next_B = self.target(batch["obs_next"])[0].gather(1, act_next_B1)[:, 0]
            y_B = batch["rew"] + (1 - batch["terminated"]) * hp["gamma"] * q_next_B
        q_BA, log_prob_BA, logits_BA = self.net(batch["obs"])
        q_loss = F.smooth_l1_loss(q_BA.gather(1, act_B1)[:, 0], y_B)
        i_loss = F.nll_loss(log_prob_BA, batch["act"])
        loss = q_loss + i_loss + hp["imitation_logits_penalty"] * logits_BA.square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.num_updates += 1
        if self.num_updates % hp["target_update_freq"] == 0:
            self.target.load_state_dict(self.net.state_dict())


def prepare(work: Work) -> Prepared:
    """A learner of the work's sizes."""
    learner = DiscreteBCQ(work)

    return Prepared(partial(repeat, learner.update), (), {})


if __name__ == "__main__":
    serve(prepare)
