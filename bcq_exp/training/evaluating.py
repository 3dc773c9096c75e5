"""What an evaluation of a population measures: the returns of episodes, and estimates of returns from data."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from bcq_exp.data.schema import DatasetConfig
from bcq_exp.engine.acting import ActingPopulation
from bcq_exp.envs.environments import normalized_score
from bcq_exp.envs.evaluation import Evaluation, evaluate_together
from bcq_exp.io.progress import episodes

Metrics = dict[str, float]
Show = Callable[[str], object]
"""Shows a line of progress; raises `CancelledError` once the run is over."""


class Evaluator(Protocol):
    """Measures the weights that the given members of a population are evaluated with."""

    @property
    def names(self) -> Sequence[str]:
        """Of all that it may measure, the columns of `metrics.csv`."""

    def __call__(self, members: Sequence[int], show: Show) -> dict[int, Metrics]:
        """The metrics of each of the members, by its number; `show` is called again and again."""


class Playing:
    """Plays episodes of the dataset's environment.

    Args:
        acting: makes the policies of all members, with their current networks.
        dataset: names the environment and its reference returns.
        num_episodes: of each member.
        max_steps: steps after which an episode is cut.
        seeds: of each member's episodes.
    """

    names = ("eval/return", "eval/return_std", "eval/length", "eval/normalized_score", "eval/cut_episodes")

    def __init__(
        self,
        acting: Callable[[], ActingPopulation],
        dataset: DatasetConfig,
        *,
        num_episodes: int,
        max_steps: int,
        seeds: Sequence[int],
    ) -> None:
        assert dataset.env is not None
        self.acting, self.env, self.seeds = acting, dataset.env, seeds
        self.num_episodes, self.max_steps = num_episodes, max_steps
        self.score = partial(normalized_score, ref_min=dataset.ref_min, ref_max=dataset.ref_max)

    def __call__(self, members: Sequence[int], show: Show) -> dict[int, Metrics]:
        """The returns of the members' episodes."""
        played = evaluate_together(
            self.acting(),
            self.env,
            self.num_episodes,
            {member: self.seeds[member] for member in members},
            max_steps=self.max_steps,
            on_step=lambda *so_far: show(episodes(*so_far)),
        )
        return {member: self.metrics(evaluation) for member, evaluation in played.items()}

    def metrics(self, played: Evaluation) -> Metrics:
        """The figures of an evaluation, without a score or cut episodes where there are none."""
        figures = (played.mean, played.std, played.mean_length, self.score(played.mean), played.num_cut or None)
        return {name: value for name, value in zip(self.names, figures, strict=True) if value is not None}


class Evaluators:
    """Several evaluators as one; without any, nothing is measured."""

    def __init__(self, *evaluators: Evaluator) -> None:
        self.evaluators = evaluators

    @property
    def names(self) -> Sequence[str]:
        """Those of all."""
        return [name for evaluator in self.evaluators for name in evaluator.names]

    def __call__(self, members: Sequence[int], show: Show) -> dict[int, Metrics]:
        """The metrics of all, one evaluator after the other."""
        found: dict[int, Metrics] = {member: {} for member in members}
        for evaluator in self.evaluators:
            for member, metrics in evaluator(members, show).items():
                found[member] |= metrics
        return found
