"""Making environments, and what is said of those that cannot be made."""

import math
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from bcq_exp.envs.environments import foreign_module, make_env, normalized_score, spaces


def test_make_env_keeps_the_time_limit_and_passes_arguments_on() -> None:
    env = make_env("Pendulum-v1", g=3.5)
    env.reset(seed=0)
    steps = next(step for step in range(1, 1000) if env.step(np.zeros(1, np.float32))[3])
    assert steps == 200
    assert env.unwrapped.g == 3.5  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize(
    ("env_id", "closest"),
    [("CartPol-v1", "CartPole-v1"), ("CartPole-v99", "CartPole-v1"), ("LunarLander-v2", "LunarLander-v3")],
)
def test_an_unknown_id_is_one_line_with_the_closest_known_id(env_id: str, closest: str) -> None:
    with pytest.raises(ValueError, match=f"environment '{env_id}' .*closest known ids: .*{closest}") as raised:
        make_env(env_id)
    assert "\n" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_an_id_close_to_none_says_so() -> None:
    with pytest.raises(ValueError, match=r"environment 'zzz/Qqq-v0' .*no known id is close"):
        make_env("zzz/Qqq-v0")


MALFORMED = [
    "", "no spaces allowed", "..x:X-v0", ".x:X-v0", "a:b:X-v0", ":X-v0", "x:", "x.:X-v0", "1x:X-v0", "a/b/X-v0",
    "../X-v0", "X-v0\n", "X\0-v0", "é:X-v0", "X-v" + "9" * 5000, "x" * 10**6, "${oc.env:HOME}",
]  # fmt: skip


@pytest.mark.parametrize("env_id", MALFORMED, ids=lambda env_id: repr(env_id[:20]))
def test_what_is_no_id_is_said_before_gymnasium_or_python_look_at_it(env_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be made: it is no id") as raised:
        make_env(env_id)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_an_environment_whose_own_code_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**kwargs: object) -> None:
        raise KeyError("of its\nown")

    gym.register("Failing-v0", fail)
    try:
        with pytest.raises(ValueError, match=r"environment 'Failing-v0' cannot be made: KeyError: 'of its\\nown'"):
            make_env("Failing-v0")
    finally:
        gym.registry.pop("Failing-v0")


def test_a_module_is_foreign_until_it_has_been_imported() -> None:
    assert foreign_module("CartPole-v1") is None
    assert foreign_module("ALE/Pong-v5") is None
    assert foreign_module("pathlib:CartPole-v1") is None  # it is there: nothing more would run
    assert foreign_module("absent_envs.sub:Own/Some-v0") == "absent_envs.sub"


@pytest.mark.parametrize(
    ("env_id", "module", "extra"),
    [("HalfCheetah-v5", "mujoco", "mujoco"), ("LunarLander-v3", "Box2D", "box2d"), ("ALE/Pong-v5", "ale_py", "atari")],
)
def test_a_missing_extra_says_what_to_install(env_id: str, module: str, extra: str) -> None:
    if find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(ValueError, match=f"environment '{env_id}' .*pip install 'bcq_exp\\[{extra}\\]'"):
        make_env(env_id)


def test_a_module_that_registers_the_environment_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_envs.py").write_text(
        "import gymnasium as gym\n"
        "gym.register('Own-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        env = make_env("own_envs:Own-v0")
    finally:
        gym.registry.pop("Own-v0", None)
        sys.modules.pop("own_envs", None)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 7
    with pytest.raises(ValueError, match=r"'absent_envs:Own-v0'.*module 'absent_envs' is not installed"):
        make_env("absent_envs:Own-v0")


def test_spaces_of_a_discrete_and_a_continuous_environment() -> None:
    observation_space, action_space = spaces("CartPole-v1")
    assert observation_space.shape == (4,)
    assert action_space == gym.spaces.Discrete(2)
    _, action_space = spaces("Pendulum-v1")
    assert action_space == gym.spaces.Box(-2.0, 2.0, (1,), np.float32)


def test_normalized_score_by_hand() -> None:
    # D4RL's hopper-v2 references and a return between them: 100 (1000 + 20.272305) / (3234.3 + 20.272305).
    score = normalized_score(1000.0, -20.272305, 3234.3)
    assert score == pytest.approx(31.348915)
    assert normalized_score(475.0, 0.0, 475.0) == 100.0
    assert normalized_score(-1600.0, -1200.0, -200.0) == -40.0
    assert normalized_score(7.0, None, None) is None


@pytest.mark.parametrize(
    "refs", [(1.0, None), (None, 1.0), (1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (-math.inf, 0.0), (0.0, math.inf)]
)
def test_references_without_a_scale_are_refused(refs: tuple[float | None, float | None]) -> None:
    with pytest.raises(ValueError, match=r"ref_min=.*ref_max="):
        normalized_score(0.0, *refs)
