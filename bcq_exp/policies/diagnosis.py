"""A policy's diagnostics on a fixed sample of a dataset's rows."""

import torch
from torch import Tensor

from bcq_exp.data import ReplayBuffer
from bcq_exp.data.buffer import FIRST
from bcq_exp.policies.base import Policy

# Rows, drawn with replacement: the standard error of a mean is 3 % of the deviation between rows.
NUM_ROWS = 1024
# Actions that a diagnosis looks at. BCQ chooses among 100 in each state: with its default networks 1,024 rows
# would take 3.7 s of one core and 0.9 GB, 256 rows take 0.9 s and 0.25 GB; an evaluation on Pendulum takes 3.9 s.
MOST_ACTIONS = 25_600


def num_diagnosed(policy: Policy) -> int:
    """Rows of a sample: `NUM_ROWS`, or fewer where a policy chooses among many actions in each."""
    return max(1, min(NUM_ROWS, MOST_ACTIONS // policy.algorithm.num_candidates))


class Diagnosis:
    """Diagnoses a policy as its algorithm says, each time on the same rows with the same noise.

    It reads the policy's current weights, and draws from a random stream of its own.

    Args:
        policy: prepared, if its algorithm needs statistics of the dataset.
        buffer: the dataset, on the policy's device.
        num_rows: the first rows of the dataset, from which the sample is drawn.
        seed: of sample and noise.
    """

    def __init__(self, policy: Policy, buffer: ReplayBuffer, *, num_rows: int, seed: int) -> None:
        self.policy, self.buffer, self.seed = policy, buffer, seed
        self.rows_B = torch.randint(num_rows, (num_diagnosed(policy),), generator=self._stream(), device=policy.device)
        gamma = policy.hp.get("gamma")  # without it there are no values
        self.returns_B = None if gamma is None else buffer.returns_to_go(self.rows_B, float(gamma))

    @property
    def names(self) -> list[str]:
        """Names of the diagnostics; none where the algorithm has none."""
        return list(self._of_first(1))

    def __call__(self) -> dict[str, Tensor]:
        """The diagnostics by name, 0-d; does not wait for the device."""
        return self._of_first(len(self.rows_B))

    def _stream(self) -> torch.Generator:
        return torch.Generator(self.policy.device).manual_seed(self.seed)

    @torch.inference_mode()
    def _of_first(self, num_rows: int) -> dict[str, Tensor]:
        """The diagnostics on the first rows of the sample."""
        policy, algorithm, stream = self.policy, self.policy.algorithm, self._stream()
        if algorithm.diagnose is None:
            return {}
        columns = self.buffer.columns()
        batch = {name: columns[name][self.rows_B[:num_rows]] for name in FIRST if name in columns}
        batch["obs"] = batch["obs"].to(self.buffer.rew.dtype)
        if self.returns_B is not None:
            batch["returns"] = self.returns_B[:num_rows]
        draws = {**algorithm.act_noise, **algorithm.diagnose_noise}
        noise = {name: draw.sample(num_rows, stream) for name, draw in draws.items()}
        return dict(algorithm.diagnose(policy.losses_view(), batch, noise, policy.hp))
