"""Whether a file acts as its policy does: both are asked for their actions in the same rows.

Shape suffixes: N rows, A number of actions.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcq_exp.data import check_against
from bcq_exp.policies.acting import Acting
from bcq_exp.policy_files.formats.form import Run
from bcq_exp.policy_files.program import Program
from bcq_exp.training.config import RunConfig

NUM_ROWS = 1000
BATCH = 250  # rows that the file gets in one call, after one row alone
TOLERANCE = 1e-5  # of an action, relative to the largest magnitude of the space where that is above 1
# Last digits decide between candidates of equal value, and are seen in an action where the policy is steep. What they
# may do is what changes of the observations of this size do, relative to the largest magnitude of a feature.
NUM_CHANGES, CHANGE = 64, 2.0**-18


@dataclass(frozen=True)
class Rows:
    """States in which actions are compared.

    Args:
        obs: (N, *S).
        mask: available actions, (N, A) bool; None where all are.
    """

    obs: NDArray[Any]
    mask: NDArray[Any] | None


@dataclass(frozen=True)
class Agreement:
    """A comparison that has been passed.

    Args:
        num_rows: compared.
        num_by_rounding: rows among them in which the last digits make the difference: see `CHANGE`.
        largest_difference: of an action's component in the other rows, in the environment's units.
        tolerance: the largest that is allowed in those.
    """

    num_rows: int
    num_by_rounding: int
    largest_difference: float
    tolerance: float

    def account(self) -> dict[str, Any]:
        """Its entry in a sidecar."""
        return asdict(self)


def recorded(cfg: RunConfig) -> Rows:
    """Up to `NUM_ROWS` rows of a run's dataset, all through it.

    Raises:
        ValueError: the dataset cannot be used.
        OSError: it cannot be read.
    """
    data = check_against(cfg.dataset.read(), cfg.observation_space, cfg.action_space, batch_size=1)
    places = np.linspace(0, len(data) - 1, min(NUM_ROWS, len(data))).astype(np.int64)
    return Rows(np.asarray(data.obs[places]), None if data.mask is None else np.asarray(data.mask[places]))


def drawn(cfg: RunConfig) -> Rows:
    """`NUM_ROWS` draws of a run's observation space: uniform between bounds, normal where there are none."""
    space = copy.deepcopy(cfg.observation_space)
    space.seed(0)
    return Rows(np.stack([space.sample() for _ in range(NUM_ROWS)]), None)


def with_masks(rows: Rows, num_actions: int) -> Rows:
    """The rows with random masks, at least one action available in each."""
    rng = np.random.default_rng(0)
    mask_NA = rng.random((len(rows.obs), num_actions)) < 0.5
    mask_NA[np.arange(len(mask_NA)), rng.integers(num_actions, size=len(mask_NA))] = True
    return Rows(rows.obs, mask_NA)


def compare(run: Run, policy: Acting, program: Program, rows: Rows, noise_seed: int | None) -> Agreement:
    """Compare the actions of a file with `policy.compute_action`, on the same random inputs.

    Args:
        run: the file, loaded.
        policy: in evaluation mode, without exploration; its acting noise is drawn anew.
        program: of the policy, as it was written to the file.
        rows: with masks if, and only if, the file takes them.
        noise_seed: as in `Program`.

    Raises:
        ValueError: an action of the policy is not finite, or one of the file is another, and both are not the same but
            for rounding.
    """
    expected = actions(policy, rows, noise_seed)
    if not np.isfinite(expected).all():
        raise ValueError("the policy's actions are not finite in some rows: its training has diverged")
    inputs = inputs_of(policy, program, rows, noise_seed)
    ends = sorted({0, 1, *range(1 + BATCH, len(rows.obs), BATCH), len(rows.obs)})
    found = np.concatenate([run([value[start:end] for value in inputs])[0] for start, end in itertools.pairwise(ends)])
    if found.shape != expected.shape:
        raise ValueError(f"the file's actions have shape {found.shape}, the policy's {expected.shape}")
    tolerance = TOLERANCE * reach(policy, expected)
    differs_N = ~agree(found, expected, tolerance)
    excused = by_rounding(
        program, [value[differs_N] for value in inputs], (found[differs_N], expected[differs_N]), tolerance
    )
    if not excused.all():
        row = int(np.flatnonzero(differs_N)[excused.argmin()])
        raise ValueError(
            f"{int((~excused).sum())} of {len(expected)} actions are not the policy's: in row {row} the file gives"
            f" {found[row]}, the policy {expected[row]}; nothing was written"
        )
    rest = np.abs(found[~differs_N].astype(np.float64) - expected[~differs_N])
    return Agreement(len(expected), len(excused), float(rest.max(initial=0.0)), tolerance)


def actions(policy: Acting, rows: Rows, noise_seed: int | None) -> NDArray[Any]:
    """The policy's own actions, (N, ...): of all rows at once, or of each as the first after `seed_acting`."""
    if noise_seed is None:
        policy.seed_acting(0)
        return policy.compute_action(rows.obs, mask=rows.mask)
    found = []
    for row in range(len(rows.obs)):
        policy.seed_acting(noise_seed)
        one = slice(row, row + 1)
        found.append(policy.compute_action(rows.obs[one], mask=None if rows.mask is None else rows.mask[one]))
    return np.concatenate(found)


def inputs_of(policy: Acting, program: Program, rows: Rows, noise_seed: int | None) -> list[NDArray[Any]]:
    """The file's inputs in the given rows; random ones are those of `actions`."""
    values: list[Any] = [rows.obs] if rows.mask is None else [rows.obs, rows.mask]
    if noise_seed is None:
        policy.seed_acting(0)
        values += [value.numpy() for value in policy.draw(len(rows.obs)).values()]
    return [np.ascontiguousarray(value, port.dtype) for value, port in zip(values, program.inputs, strict=True)]


def reach(policy: Acting, expected: NDArray[Any]) -> float:
    """The largest magnitude of an action, at least 1: of the space where it is bounded."""
    if policy.action_map.is_discrete:
        return 0.0  # actions are equal or not
    bounds = np.abs([policy.action_map.low, policy.action_map.high]).astype(np.float64)
    largest = float(bounds.max())
    return max(1.0, largest if math.isfinite(largest) else float(np.abs(expected).max()))


def agree(found: NDArray[Any], expected: NDArray[Any], tolerance: Any) -> NDArray[np.bool_]:
    """Whether actions are the same, row by row, (N,), within a number or within one for each number of an action."""
    is_near = np.abs(found.astype(np.float64) - expected.astype(np.float64)) <= tolerance
    return np.asarray(is_near.reshape(len(found), math.prod(found.shape[1:])).all(axis=1))


def by_rounding(
    program: Program, inputs: Sequence[NDArray[Any]], takings: Sequence[NDArray[Any]], tolerance: float
) -> NDArray[np.bool_]:
    """Whether the program takes each of several actions of a row, (N,), when observations change in their last digits.

    Args:
        program: of the policy.
        inputs: of N rows.
        takings: the actions of the rows, (N, ...) each.
        tolerance: as in `agree`.
    """
    obs, *others = [torch.as_tensor(value) for value in inputs]
    is_taken = np.zeros((len(takings), len(obs)), np.bool_)
    if len(obs) == 0:
        return np.ones(0, np.bool_)
    exact, generator = obs.to(program.dtype), torch.Generator().manual_seed(0)
    size = CHANGE * exact.abs().amax(0).clamp(min=1)
    near = tolerance + steepness(program, exact, others, size).numpy()
    for _ in range(NUM_CHANGES):
        change = size * torch.randn(exact.shape, generator=generator, dtype=exact.dtype)
        act = program(exact + change, *others)[0].numpy()
        is_taken |= np.stack([agree(act, taking, near) for taking in takings])
    return np.asarray(is_taken.all(axis=0))


def steepness(program: Program, obs: Tensor, others: Sequence[Tensor], size: Tensor) -> Tensor:
    """How far changes of that size move an action while the candidate that is chosen stays the same, (N, ...).

    Args:
        program: of the policy.
        obs: observations (N, *S).
        others: the program's other inputs.
        size: of the changes, (*S).
    """
    changed = obs.clone().requires_grad_()
    act = program(changed, *others)[0]
    if not act.requires_grad:  # one of finitely many
        return torch.zeros_like(act, dtype=obs.dtype)
    numbers = act.reshape(len(obs), -1).unbind(-1)
    slopes = [torch.autograd.grad(number.sum(), changed, retain_graph=True)[0] for number in numbers]
    return torch.stack([(slope.abs() * size).flatten(1).sum(1) for slope in slopes], -1).reshape(act.shape)
