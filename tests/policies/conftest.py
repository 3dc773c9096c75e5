"""Small policies and datasets for the tests of the documented classes."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from bcq_exp.networks import MLP, VAE, Critic, Decoder, Encoder, Hidden, Perturbation
from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy, Policy

HIDDEN: Hidden = {"hidden_sizes": [16], "activation": "relu"}
OBS_DIM, ACT_DIM, NUM_ACTIONS, NUM_ROWS = 3, 2, 4, 40

Columns = dict[str, NDArray[Any]]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
ADAM: MakeOptimizer = partial(Adam, lr=1e-2)
DESCENT: MakeOptimizer = partial(SGD, lr=0.1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_bcq() -> Callable[..., BCQPolicy]:
    """Builds a policy on observations (3,); any argument of the class can be given."""

    def make(*, seed: int = 0, act_dim: int = ACT_DIM, optimizer: MakeOptimizer = ADAM, **kwargs: Any) -> BCQPolicy:
        torch.manual_seed(seed)
        sizes = {"latent_dim": 2 * act_dim, **HIDDEN}
        parts: dict[str, Any] = {
            "actor_perturbation": Perturbation(OBS_DIM, act_dim, phi=0.1, max_action=1.0, **HIDDEN),
            "critic": Critic(OBS_DIM, act_dim, **HIDDEN),
            "vae": VAE(Encoder(OBS_DIM, act_dim, **sizes), Decoder(OBS_DIM, act_dim, max_action=1.0, **sizes)),
        }
        parts |= {name: kwargs[name] for name in parts if name in kwargs}
        optims = {f"{name}_optim": optimizer(part.parameters()) for name, part in parts.items()}
        space = gym.spaces.Box(-1, 1, (act_dim,))
        return BCQPolicy(**({"action_space": space, "num_sampled_action": 3} | parts | optims | kwargs))

    return make


@pytest.fixture
def make_discrete() -> Callable[..., DiscreteBCQPolicy]:
    """Builds a policy on observations (3,) with four actions; any argument of the class can be given."""

    def make(*, seed: int = 0, optimizer: MakeOptimizer = DESCENT, **kwargs: Any) -> DiscreteBCQPolicy:
        torch.manual_seed(seed)
        parts = {name: kwargs.get(name) or MLP(OBS_DIM, NUM_ACTIONS, **HIDDEN) for name in ("model", "imitator")}
        optim = optimizer(nn.ModuleList(parts.values()).parameters())
        space = gym.spaces.Discrete(NUM_ACTIONS)
        return DiscreteBCQPolicy(**({"action_space": space, "optim": optim} | parts | kwargs))

    return make


@pytest.fixture
def table() -> Callable[[Any], nn.Linear]:
    """Builds a network that maps the one-hot observation of state s to row s of the values (S, A)."""

    def make(values: Any) -> nn.Linear:
        weight = torch.tensor(values, dtype=torch.float32).T
        linear = nn.Linear(*reversed(weight.shape), bias=False)
        linear.weight.data.copy_(weight)
        return linear

    return make


class ConstantCritic(nn.Module):
    """The same value everywhere, (B, 1), which learns."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        self.linear.weight.data.fill_(value)

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        out: Tensor = self.linear(torch.ones(len(obs), 1))
        return out


@pytest.fixture
def constant_critic() -> type[ConstantCritic]:
    """Builds a critic that has one value everywhere."""
    return ConstantCritic


@pytest.fixture
def continuous() -> Columns:
    """Four episodes of ten transitions, of which the second and the fourth are truncated."""
    return _columns(lambda rng: rng.uniform(-1, 1, (NUM_ROWS, ACT_DIM)).astype(np.float32))


@pytest.fixture
def discrete() -> Columns:
    """As `continuous`, with four discrete actions."""
    return _columns(lambda rng: rng.integers(NUM_ACTIONS, size=NUM_ROWS))


@pytest.fixture(params=["bcq", "discrete_bcq"])
def case(
    request: pytest.FixtureRequest,
    make_bcq: Callable[..., BCQPolicy],
    make_discrete: Callable[..., DiscreteBCQPolicy],
    continuous: Columns,
    discrete: Columns,
) -> tuple[Callable[..., Policy], Columns]:
    """Each class, and what it learns from."""
    return (make_bcq, continuous) if request.param == "bcq" else (make_discrete, discrete)


def _columns(draw_act: Callable[[np.random.Generator], NDArray[Any]]) -> Columns:
    rng, rows = np.random.default_rng(0), np.arange(NUM_ROWS)
    obs, obs_next = rng.standard_normal((2, NUM_ROWS, OBS_DIM), dtype=np.float32)
    return {
        "obs": obs,
        "act": draw_act(rng),
        "rew": rng.standard_normal(NUM_ROWS, dtype=np.float32),
        "terminated": rows % 20 == 9,
        "truncated": rows % 20 == 19,
        "obs_next": obs_next,
    }
