"""The compiled update against the same update run as it is.

Compiling takes seconds, so `make test` has three algorithms and `make test-compile` all.
"""

import sys
from collections.abc import Iterator

import pytest
import torch
import torch._inductor.compile_fx  # all of the compiler, which needs the names that tests take away

from bcq_exp.algorithms import REGISTRY
from bcq_exp.engine.compiled import PASSES_KEY, compiler_options, cpu_passes
from bcq_exp.engine.workers import Workers
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


@pytest.fixture
def _passes_unknown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "bcq_exp.engine.cpu_passes", raising=False)
    cpu_passes.cache_clear()
    yield
    cpu_passes.cache_clear()


MISSING = ("torch._functorch.compile_utils.fx_graph_cse", "torch._inductor.custom_graph_pass.CustomGraphPass")


@pytest.mark.usefixtures("_passes_unknown")
@pytest.mark.parametrize("missing", MISSING)
def test_where_torch_has_moved_a_name_the_passes_are_left_out_and_the_log_says_so_once(
    missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.delattr(missing)
    for _ in range(2):
        options = compiler_options(torch.device("cpu"))
        assert PASSES_KEY not in options
        assert options["deterministic"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert missing.rpartition(".")[2] in caplog.text
    assert "without our passes" in caplog.text


@pytest.mark.usefixtures("_passes_unknown")
def test_where_the_compiler_takes_no_passes_they_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert PASSES_KEY in compiler_options(torch.device("cpu"))
    cpu_passes.cache_clear()
    monkeypatch.setattr("torch._inductor.list_options", lambda: ["cpp_wrapper"])
    assert PASSES_KEY not in compiler_options(torch.device("cpu"))
    assert caplog.text.count(f"no option {PASSES_KEY}") == 1


@pytest.mark.compiled
@pytest.mark.usefixtures("_passes_unknown")
def test_compiled_equals_eager_without_the_passes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(MISSING[0])
    compare("discrete_bcq")
    assert cpu_passes() == {}


@pytest.mark.usefixtures("_passes_unknown")
def test_on_cuda_the_passes_for_cpus_are_not_loaded():
    assert PASSES_KEY not in compiler_options(torch.device("cuda"))
    assert "bcq_exp.engine.cpu_passes" not in sys.modules


@pytest.mark.compiled
@pytest.mark.parametrize("hidden", ["[8]", "[256,256]"])
def test_members_side_by_side_learn_the_same_bits_on_any_number_of_threads(hidden: str):
    typed = ("compile=always", f"network.hidden_sizes={hidden}", "algorithm.target_update_freq=7")
    made = [population_of("discrete_bcq", [*range(9)], *typed) for _ in range(2)]
    for population, num_threads in zip(made, (4, 1), strict=True):
        population.workers = Workers(num_threads)
        for num_updates in (3, 20, 1):
            population.advance(num_updates)
    for one, other in zip(*(population.policies for population in made), strict=True):
        assert torch.equal(weights(one), weights(other))
    assert made[0].read_metrics() == made[1].read_metrics()


@pytest.mark.compiled
def test_a_program_is_compiled_with_the_threads_of_its_caller(monkeypatch: pytest.MonkeyPatch):
    options = []
    before = torch.get_num_threads()
    try:
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            options.append(compiler_options(torch.device("cpu"))["cpp.threads"])
    finally:
        torch.set_num_threads(before)
    assert options == [1, 3]


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
