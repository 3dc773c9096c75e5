"""The compiled update against the same update run as it is.

Compiling takes seconds, so `make test` has three algorithms and `make test-compile` all.
"""

import pytest

from bcq_exp.algorithms import REGISTRY
from populations import MASKED, population_of, weights

EVERY_TIME = {"discrete_bcq", "bcq", "td3_bc"}


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in EVERY_TIME else pytest.mark.slow) for name in sorted(REGISTRY)],
)
def test_compiled_equals_eager(name: str):
    compare(name)


@pytest.mark.compiled
@pytest.mark.slow
def test_compiled_equals_eager_where_observations_are_normalised():
    compare("td3_bc", "dataset.normalize_obs=true")


@pytest.mark.compiled
def test_compiled_equals_eager_for_a_lone_member_with_many_quantiles():
    """Where a target was worked out again for each of the errors it is in, the graph wrote beyond its tensors."""
    compare("qrdqn", "algorithm.num_quantiles=200", "batch_size=100", members=(0,))


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.parametrize("name", MASKED)
def test_compiled_equals_eager_where_actions_are_masked(name: str):
    compare(name, *MASKED[name], has_masks=True)


def compare(name: str, *typed: str, members: tuple[int, ...] = (0, 1), has_masks: bool = False) -> None:
    eager, compiled = (
        population_of(name, [*members], *typed, *compiling, has_masks=has_masks)
        for compiling in ((), ("compile=always",))
    )
    before = [weights(policy).clone() for policy in eager.policies]
    eager.advance(20)
    compiled.advance(20)
    for start, one, other in zip(before, eager.policies, compiled.policies, strict=True):
        assert (weights(one) - start).square().mean().sqrt() > 1e-3
        assert (weights(one) - weights(other)).square().mean().sqrt() < 1e-6
    assert compiled.is_compiled
    assert compiled.compile_seconds > 0
