"""What trained runs are worth: `python -m bcq_exp.evaluate run=DIR` plays episodes, `ope=fqe` asks the dataset."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from bcq_exp.analysis.trained_runs import TrainedRun, load_policy, trained_runs
from bcq_exp.engine.machine import prepare_process
from bcq_exp.envs.environments import normalized_score
from bcq_exp.envs.evaluation import evaluate
from bcq_exp.io.endings import in_one_line, refuse_pickles
from bcq_exp.io.progress import PLAIN_PERIOD, Board, episodes
from bcq_exp.ope import selection
from bcq_exp.ope.estimation import by_dataset, judge
from bcq_exp.ope.offline import EvaluationConfig, Task, checked_task
from bcq_exp.training.config import CONF_DIR

log = logging.getLogger(__name__)


def played(runs: Sequence[TrainedRun], settings: EvaluationConfig) -> Table:
    """The runs' returns over full episodes, a row a run."""
    table = Table(title=f"returns over {settings.episodes} episodes", box=box.SIMPLE_HEAD)
    table.add_column("run", overflow="fold")
    for column in ("return ± std", "length", "score", "in training"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, run in enumerate(runs, start=1):
        log.info("%d of %d: %s", number, len(runs), run.directory)
        data = run.cfg.dataset
        with Board(PLAIN_PERIOD) as board:
            found = evaluate(
                load_policy(run), data.env, settings.episodes, settings.seed, max_steps=settings.eval_max_steps,
                on_step=lambda *so_far: board.show(episodes(*so_far)),
            )  # fmt: skip
        score = normalized_score(found.mean, data.ref_min, data.ref_max)
        cut = f" ({found.num_cut} cut)" if found.num_cut else ""
        cells = [f"{found.mean:.1f} ± {found.std:.1f}", f"{found.mean_length:.1f}{cut}", selection.figure(score)]
        table.add_row(run.label, *cells, selection.figure(run.online_return))
    return table


def answer(task: Task) -> None:
    """Play the runs' episodes, or estimate what they are worth on each dataset."""
    prepare_process(task.settings.num_threads)
    directory = Path(task.settings.run)
    runs = trained_runs(directory, task.settings.device, allow_modules=task.settings.allow_modules)
    if not task.estimators:
        Console().print(played(runs, task.settings))
    groups = by_dataset(runs) if task.estimators else []
    for number, group in enumerate(groups, start=1):
        judge(group, task, directory / ("ope.png" if len(groups) == 1 else f"ope-{number}.png"))


def main() -> None:
    """Evaluate what is typed."""
    refuse_pickles(sys.argv[1:])
    run()


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="evaluate")
def run(cfg: DictConfig) -> None:
    """Do what the overrides ask for."""
    try:
        with in_one_line():
            answer(checked_task(cfg))
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
