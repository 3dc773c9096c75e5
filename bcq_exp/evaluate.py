"""Evaluation of trained runs: `python -m bcq_exp.evaluate run=DIR` plays episodes, `ope=fqe` needs the dataset only."""

from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from bcq_exp.analysis.played import played_table
from bcq_exp.analysis.trained_runs import runs_and_omissions, trained_runs
from bcq_exp.command_line.answers import in_one_answer
from bcq_exp.engine.machine import prepare_process
from bcq_exp.io.endings import in_one_line, mistakes_in_one_line
from bcq_exp.io.source import CONF_DIR
from bcq_exp.selection.estimation import by_dataset, judge, select
from bcq_exp.selection.request import Request, checked_request


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
        Console().print(played_table(runs, settings))
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
