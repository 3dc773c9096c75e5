"""Episodes that the policies of trained runs play: their returns, and what the first one looks like."""

import logging
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from bcq_exp.analysis.tables import with_decimals
from bcq_exp.analysis.trained_runs import TrainedRun, load_policy
from bcq_exp.envs.environments import normalized_score
from bcq_exp.envs.evaluation import Evaluation, episode_seeds, evaluate
from bcq_exp.envs.replays import KeptSteps, NotRepeated, check_drawn, pictures
from bcq_exp.io.animation import animation_of, write_animation
from bcq_exp.io.progress import PLAIN_PERIOD, Board, episodes
from bcq_exp.ope.schema import EvaluationConfig

MAX_PICTURES = 500  # of an animation; a longer episode is shown faster

log = logging.getLogger(__name__)


def played_table(runs: Sequence[TrainedRun], settings: EvaluationConfig) -> Table:
    """Play full episodes of each run; make a table of their returns, a row a run.

    With `video=true` the first episode of each run is also written as an animation, `RUN/evaluation_update_N.gif`.

    Raises:
        ValueError: a run has no environment, or its environment cannot be drawn; nothing has been played then.
        OSError: an animation cannot be written.
    """
    if without := [run.directory for run in runs if run.cfg.dataset.env is None]:
        raise ValueError(f"{without[0]} has no environment to play in; give ope=fqe, an estimate from its data")
    rates = {env: check_drawn(env) for env in {_env(run) for run in runs}} if settings.video else {}
    table = Table(title=f"returns over {settings.episodes} episodes", box=box.SIMPLE_HEAD)
    table.add_column("run", overflow="fold")
    for column in ("return ± std", "length", "score", "in training"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, run in enumerate(runs, start=1):
        log.info("%d of %d: %s", number, len(runs), run.directory)
        played = _play(run, settings, rates)
        score = normalized_score(played.mean, run.cfg.dataset.ref_min, run.cfg.dataset.ref_max)
        cut = f" ({played.num_cut} cut)" if played.num_cut else ""
        cells = [f"{played.mean:.1f} ± {played.std:.1f}", f"{played.mean_length:.1f}{cut}", with_decimals(score)]
        table.add_row(run.label, *cells, with_decimals(run.online_return))
    return table


def _play(run: TrainedRun, settings: EvaluationConfig, rates: Mapping[str, float]) -> Evaluation:
    """Play a run's episodes; `rates` has the steps a second of the environments that are shown."""
    env, policy = _env(run), load_policy(run)
    acting = KeptSteps(policy) if env in rates else policy
    with Board(PLAIN_PERIOD) as board:
        played = evaluate(
            acting, env, settings.episodes, settings.seed, max_steps=settings.eval_max_steps,
            on_step=lambda *so_far: board.show(episodes(*so_far)),
        )  # fmt: skip
    if isinstance(acting, KeptSteps):
        _show(run, acting, played, settings, rates[env])
    return played


def _show(run: TrainedRun, acting: KeptSteps, played: Evaluation, settings: EvaluationConfig, rate: float) -> None:
    """Write the animation of the first episode."""
    seed = episode_seeds(settings.seed, settings.episodes)[0]
    log.info("drawing its first episode, of %d steps", played.lengths[0])
    try:
        shown = pictures(_env(run), seed, acting.steps[: played.lengths[0]], played.returns[0], MAX_PICTURES)
    except NotRepeated as error:
        log.warning("no animation: %s", error)
        return
    write_animation(path := animation_of(run.checkpoint), shown, rate)
    log.info("%s", path)


def _env(run: TrainedRun) -> str:
    env = run.cfg.dataset.env
    assert env is not None
    return env
