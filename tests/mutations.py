"""Faults that golden tests must see: each is an edit of the source, tried on a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
# Pytest on the copy of the package that lies in the working directory, never on the installed one.
RUN = """
import pathlib, sys, pytest, bcq_exp
assert pathlib.Path(bcq_exp.__file__).is_relative_to(pathlib.Path.cwd()), bcq_exp.__file__
sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Mutation:
    """A named fault.

    Args:
        name: what is wrong.
        file: of the package.
        old, new: the source as it is, where it occurs exactly once, and with the fault.
        tests: the files whose tests shall see it.
        select: the expression that selects tests in them; each selected test shall fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    select: str = "golden"

    def apply(self, package: Path) -> None:
        """Edit a copy of the package."""
        path = package / self.file
        source = path.read_text()
        assert source.count(self.old) == 1, f"{self.name}: {self.old!r} occurs {source.count(self.old)} times"
        path.write_text(source.replace(self.old, self.new))


BCQ, DISCRETE_BCQ, DQN, TD3_BC = (f"algorithms/test_{name}.py" for name in ("bcq", "discrete_bcq", "dqn", "td3_bc"))

MUTATIONS = (
    Mutation(
        "target_perturbation_removed",
        "algorithms/bcq.py",
        'targets["actor"](obs_next, nets["decoder"](obs_next, noise["latent"].flatten(0, 1)))  # (B N, A)',
        'nets["decoder"](obs_next, noise["latent"].flatten(0, 1))',
        (BCQ,),
    ),
    Mutation(
        "truncated_as_terminal",
        "policies/door.py",
        '    num_steps = get(batch, "num_steps")\n',
        '    num_steps = get(batch, "num_steps")\n    found["terminated"] = found["terminated"] | found["truncated"]\n',
        (BCQ, DISCRETE_BCQ, DQN, TD3_BC),
    ),
    Mutation(
        "mask_dropped_from_target",
        "algorithms/discrete_bcq.py",
        'hp["unlikely_action_threshold"], batch.get("mask_next"))',
        'hp["unlikely_action_threshold"], None)',
        (DISCRETE_BCQ,),
    ),
    Mutation(
        "likely_rule_dropped_from_target",
        "algorithms/discrete_bcq.py",
        "batch, hp, likely_BA, is_double",
        'batch, hp, batch.get("mask_next"), is_double',
        (DISCRETE_BCQ,),
    ),
    Mutation(
        "twin_critics_identical",
        "policies/bcq.py",
        "critic2 = twin(critic)",
        "critic2 = copy.deepcopy(critic)",
        (BCQ,),
        "twin_critics",
    ),
    Mutation(
        "soft_clipped_min_only",
        "ops/td.py",
        "lmbda * torch.minimum(q1, q2) + (1 - lmbda) * torch.maximum(q1, q2)\n",
        "torch.minimum(q1, q2)\n",
        (BCQ,),
    ),
    Mutation(
        "kl_weight_dropped",
        "algorithms/bcq.py",
        'batch["act"]) + KL_WEIGHT * kl',
        'batch["act"]) + kl',
        (BCQ,),
    ),
    Mutation(
        "latent_not_clipped_in_target",
        "algorithms/bcq.py",
        'Draw("normal", (num_sampled_action, latent_dim), LATENT_CLIP)',
        'Draw("normal", (num_sampled_action, latent_dim))',
        (BCQ,),
    ),
    Mutation(
        "online_critic_in_target",
        "algorithms/bcq.py",
        'targets["critic1"](obs_next, act_next)',
        'nets["critic1"](obs_next, act_next)',
        (BCQ,),
    ),
    Mutation(
        "td3_delay_ignored",
        "algorithms/td3_bc.py",
        'trains=("actor",), every=cfg.policy_freq)',
        'trains=("actor",))',
        (TD3_BC,),
    ),
    Mutation(
        "huber_for_mse",
        "algorithms/dqn.py",
        "F.huber_loss if clip_loss_grad else F.mse_loss",
        "F.huber_loss",
        (DISCRETE_BCQ, DQN),
        "golden and square",
    ),
    Mutation(
        "is_double_ignored",
        "algorithms/dqn.py",
        'masked_argmax(nets["model"](batch["obs_next"]) if is_double else q_BA, mask_BA)',
        'masked_argmax(nets["model"](batch["obs_next"]), mask_BA)',
        (DISCRETE_BCQ, DQN),
        "golden and single",
    ),
)


def run(mutation: Mutation, directory: Path) -> None:
    """Try the tests that shall see the fault on a copy of the package in an empty directory.

    Raises:
        AssertionError: a test passes, or fails otherwise than by an assertion, or none is run.
    """
    package = directory / "bcq_exp"
    shutil.copytree(TESTS.parent / "bcq_exp", package)
    mutation.apply(package)
    config = ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(TESTS.parent)]
    bare = ["--disable-plugin-autoload", "-p", "no:cacheprovider"]  # loading plugins takes longer than the tests
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *config, *bare, "-q", "-rA", "--tb=line", "-k", mutation.select]
        + [str(TESTS / file) for file in mutation.tests],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(directory), "COLUMNS": "1000", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    verdicts = re.findall(r"^(?:PASSED|FAILED|ERROR) .*", ran.stdout, re.MULTILINE)
    others = [line for line in verdicts if not re.match(r"FAILED \S+ - (AssertionError|assert )", line)]
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert verdicts, ran.stdout + ran.stderr
    assert not others, "\n".join(others)
