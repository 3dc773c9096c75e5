"""To add an estimator: its file in `ope/estimators/`, a line in their registry, a line of YAML for its own key."""

from pathlib import Path

from adding.tree import Tree
from bcq_exp.data import read_transitions
from bcq_exp.io.files import read_json
from trained import on_file, train_run

ESTIMATOR = '''"""The mean recorded reward, as if each of so many steps earned it: the same for every policy."""

from dataclasses import dataclass

import numpy as np

from bcq_exp.fields import within
from bcq_exp.ope.candidate import Candidate
from bcq_exp.ope.estimators.base import Estimator, Statistic


@dataclass(kw_only=True)
class MeanReward(Estimator):
    """num_steps times the mean reward."""

    num_steps: int = within(1)

    def statistic(self, candidate: Candidate) -> Statistic:
        """Of all recorded rewards, however often an episode counts."""
        estimate = self.num_steps * float(candidate.recording.data.rew.mean())
        return lambda counts_RE: np.full(len(counts_RE), estimate)
'''


def test_an_estimator_is_a_file_a_registry_line_and_a_line_for_its_key(tree: Tree, tmp_path: Path, discrete_file: Path):
    tree.write("bcq_exp/ope/estimators/mean_reward.py", ESTIMATOR)
    registry = "bcq_exp/ope/estimators/__init__.py"
    tree.replace(
        registry, "ESTIMATORS: dict", "from bcq_exp.ope.estimators.mean_reward import MeanReward\n\nESTIMATORS: dict"
    )
    tree.replace(registry, '    "fqe": ', '    "mean_reward": MeanReward,\n    "fqe": ')
    tree.replace("conf/evaluate.yaml", "target_update_freq: 20", "num_steps: 10\ntarget_update_freq: 20")
    assert len(tree.touched) <= 3

    train_run(tmp_path / "run", *on_file(discrete_file))
    done = tree.give(
        "-m", "bcq_exp.evaluate", "run=run", "ope=mean_reward", "num_threads=1", "num_steps=4", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    kept = read_json(tmp_path / "run" / "ope.json")
    mean = float(read_transitions(discrete_file).rew.mean())
    assert kept["estimates"] == {"mean_reward": 4 * mean}
    assert kept["settings"]["num_steps"] == 4
    assert f"{4 * mean:.3f}" in done.stdout
    said = tree.give("-m", "bcq_exp.evaluate", "run=run", "ope=mean_reward", "num_steps=0", cwd=tmp_path)
    assert said.stderr == "error: num_steps=0 is outside [1, inf)\n"
