"""The random numbers of training: each member's minibatches and noise, drawn in blocks from its own streams.

Shape suffixes: P members, B batch, K updates of a block.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bcq_exp.algorithms.form import Stage
from bcq_exp.data.growth import Growth

BLOCK = 64  # updates drawn at once; constant, since what a stream yields depends on the size of the draw


class Streams:
    """Rows and noise of each update.

    They depend on a member's streams and on the update alone, neither on other members nor on the active stages.

    Args:
        samplers: a stream of minibatch rows for each member.
        noises: a stream of noise for each member.
        stages: their random inputs are drawn.
        num_rows: of the dataset.
        batch_size: rows of a minibatch.
        growth: of the dataset; None where it is whole from the beginning.
    """

    def __init__(
        self,
        samplers: Sequence[torch.Generator],
        noises: Sequence[torch.Generator],
        stages: Sequence[Stage],
        *,
        num_rows: int,
        batch_size: int,
        growth: Growth | None,
    ) -> None:
        self.samplers, self.noises, self.stages = list(samplers), list(noises), stages
        self.num_rows, self.batch_size, self.growth = num_rows, batch_size, growth
        self.is_drawn = False

    def at(self, update: int) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Rows (P, B) of an update, counted from 0, and the noise of each stage, (P, B, ...) by name.

        Call it for one update after the other.
        """
        offset = update % BLOCK
        if offset == 0 or not self.is_drawn:
            self._draw(update - offset)
        noise = [{name: noise_K[offset] for name, noise_K in stage.items()} for stage in self.noise_K]
        return self.rows_K[offset], noise

    def _draw(self, first: int) -> None:
        """Draw the block that begins with an update."""
        self.starts = [self._states(member) for member in range(len(self.samplers))]
        size = (BLOCK, self.batch_size)
        # A tensor (P, B, ...) for each update: taking a block apart once is quicker than indexing it 64 times.
        self.rows_K = torch.stack([self._rows(first, size, sampler) for sampler in self.samplers], 1).unbind()
        self.noise_K = [
            {
                name: torch.stack(
                    [draw.sample(size[0] * size[1], g).view(*size, *draw.shape) for g in self.noises], 1
                ).unbind()
                for name, draw in stage.noise.items()
            }
            for stage in self.stages
        ]
        self.is_drawn = True

    def _rows(self, first: int, size: tuple[int, int], sampler: torch.Generator) -> Tensor:
        """Rows (K, B), uniformly from those that are there at each update of the block."""
        if self.growth is None:
            return torch.randint(self.num_rows, size, generator=sampler, device=sampler.device)
        num_rows = [min(self.growth.num_rows(update), self.num_rows) for update in range(first, first + BLOCK)]
        uniform_KB = torch.rand(size, generator=sampler, device=sampler.device, dtype=torch.float64)
        return (uniform_KB * torch.tensor(num_rows, device=sampler.device)[:, None]).long()

    def _states(self, member: int) -> dict[str, Tensor]:
        return {"sampling": self.samplers[member].get_state(), "noise": self.noises[member].get_state()}

    def state(self, member: int, update: int) -> dict[str, Any]:
        """The state of a member's streams at the beginning of the next update's block."""
        return self._states(member) if update % BLOCK == 0 or not self.is_drawn else self.starts[member]

    def load_state(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Resume from each member's saved state; its block is drawn again."""
        for sampler, noise, state in zip(self.samplers, self.noises, states, strict=True):
            sampler.set_state(state["sampling"])
            noise.set_state(state["noise"])
        self.is_drawn = False
