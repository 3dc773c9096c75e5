import csv
from pathlib import Path

from adding.tree import Tree
from trained import SMALL, on_file

KIND = '''"""Groups as plain processes of Python."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bcq_exp.sweeps.executors.form import ProcessExecutor
from bcq_exp.sweeps.executors.supervision import Start
from bcq_exp.sweeps.group import Group

CALL = "import sys; from bcq_exp.sweeps.group import run_group; run_group(*sys.argv[1:])"


class PlainGroup:
    """A group as a process."""

    def __init__(self, flags: Sequence[str], group: Group, gpu: str) -> None:
        self.process = subprocess.Popen([sys.executable, *flags, "-c", CALL, str(group.path), gpu])

    def state(self) -> str | None:
        """Running or ended."""
        return "running" if self.process.poll() is None else None

    def where(self) -> str:
        """The sweep's own errors."""
        return "the errors above"

    def cancel(self) -> None:
        """Have the process end when its group is saved."""
        self.process.terminate()


class Plain(ProcessExecutor):
    """Plain processes; the option `flags` is Python's own."""

    deals_gpus = True

    def check_options(self) -> None:
        """Raise ValueError where there are other options."""
        if others := self.options.keys() - {"flags"}:
            raise self.refusal(f"its option is flags, not {', '.join(others)}")

    @contextmanager
    def starting(self, num_places: int, num_threads: int, sweep_dir: Path) -> Iterator[Start]:
        """Nothing to begin or to end."""
        flags = self.options.get("flags", [])
        yield lambda groups, gpus: [PlainGroup(flags, *each) for each in zip(groups, gpus, strict=True)]
'''


def test_an_executor_is_one_file_and_one_line_of_the_registry(tree: Tree, tmp_path: Path, discrete_file: Path):
    tree.write("bcq_exp/sweeps/executors/plain.py", KIND)
    registry = "bcq_exp/sweeps/executors/__init__.py"
    tree.replace(registry, "\nEXECUTORS", "from bcq_exp.sweeps.executors.plain import Plain\n\nEXECUTORS")
    tree.replace(registry, '    "inprocess":', '    "plain": Plain,\n    "inprocess":')
    assert len(tree.touched) <= 2

    typed = ["-m", "bcq_exp.train", "-m", *SMALL, *on_file(discrete_file), "algorithm=bc_discrete,dqn", "seed=0,1"]
    plain = [*typed, "hydra.launcher.executor=plain", "hydra.sweep.dir=sweep"]
    refused = tree.give(*plain, "hydra.launcher.options={minutes: 5}", cwd=tmp_path)
    assert refused.returncode == 1
    assert "error: hydra.launcher.executor=plain: its option is flags, not minutes" in refused.stderr
    assert not (tmp_path / "sweep").exists()

    done = tree.give(*plain, "hydra.launcher.options={flags: [-B]}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "sweep" / "sweep.csv").open(newline="") as file:
        rows = [(row["algorithm"], row["num_members"]) for row in csv.DictReader(file)]
    assert sorted(rows) == [("bc_discrete", "2")] * 2 + [("dqn", "2")] * 2
    assert len(list((tmp_path / "sweep" / "groups").glob("*.log"))) == 2  # each had a process of its own

    refused = tree.give(*typed, "hydra.launcher.options={flags: [-B]}", "hydra.sweep.dir=other", cwd=tmp_path)
    assert "or choose one of plain, submitit_local, submitit_slurm, ray" in refused.stderr
