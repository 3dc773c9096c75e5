"""Evaluation of trained runs: `python -m bcq_exp.evaluate run=DIR` plays episodes, `ope=fqe` needs the dataset only."""

import logging
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from bcq_exp.analysis.tables import with_decimals
from bcq_exp.analysis.trained_runs import TrainedRun, load_policy, runs_and_omissions, trained_runs
from bcq_exp.command_line.answers import in_one_answer
from bcq_exp.engine.machine import prepare_process
from bcq_exp.envs.environments import normalized_score
from bcq_exp.envs.evaluation import evaluate
from bcq_exp.io.endings import in_one_line, mistakes_in_one_line
from bcq_exp.io.progress import PLAIN_PERIOD, Board, episodes
from bcq_exp.io.source import CONF_DIR
from bcq_exp.ope.schema import EvaluationConfig
from bcq_exp.selection.estimation import by_dataset, judge, select
from bcq_exp.selection.request import Request, checked_request

log = logging.getLogger(__name__)


def returns_table(runs: Sequence[TrainedRun], settings: EvaluationConfig) -> Table:
    """Play full episodes of each run; make a table of their returns, a row a run."""
    table = Table(title=f"returns over {settings.episodes} episodes", box=box.SIMPLE_HEAD)
    table.add_column("run", overflow="fold")
    for column in ("return ± std", "length", "score", "in training"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, run in enumerate(runs, start=1):
        log.info("%d of %d: %s", number, len(runs), run.directory)
        data = run.cfg.dataset
        assert data.env is not None
        with Board(PLAIN_PERIOD) as board:
            played = evaluate(
                load_policy(run), data.env, settings.episodes, settings.seed, max_steps=settings.eval_max_steps,
                on_step=lambda *so_far: board.show(episodes(*so_far)),
            )  # fmt: skip
        score = normalized_score(played.mean, data.ref_min, data.ref_max)
        cut = f" ({played.num_cut} cut)" if played.num_cut else ""
        cells = [f"{played.mean:.1f} ± {played.std:.1f}", f"{played.mean_length:.1f}{cut}", with_decimals(score)]
        table.add_row(run.label, *cells, with_decimals(run.online_return))
    return table


def answer(request: Request) -> None:
    """Play the runs' episodes, or estimate their returns from each dataset."""
    settings, directory = request.settings, Path(request.settings.run)
    prepare_process(settings.num_threads)
    if settings.select:
        found = runs_and_omissions(directory, settings.device, allow_modules=settings.allow_modules)
        select(*found, request, directory)
        return
    runs = trained_runs(directory, settings.device, allow_modules=settings.allow_modules)
    if not request.estimators:
        if without := [run.directory for run in runs if run.cfg.dataset.env is None]:
            raise ValueError(f"{without[0]} has no environment to play in; give ope=fqe, an estimate from its data")
        Console().print(returns_table(runs, settings))
        return
    groups = by_dataset(runs)
    for number, group in enumerate(groups, start=1):
        judge(group, request, directory / ("ope.png" if len(groups) == 1 else f"ope-{number}.png"))


def main() -> None:
    """Evaluate as the command line says."""
    with in_one_answer("evaluate"):
        run()


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="evaluate")
def run(cfg: DictConfig) -> None:
    """Check the composed configuration, and evaluate."""
    with in_one_line(), mistakes_in_one_line():
        answer(checked_request(cfg))


if __name__ == "__main__":
    main()
