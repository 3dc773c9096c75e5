"""The schedule of a run, or of the runs of a population: update, log, evaluate, checkpoint."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from bcq_exp.engine.population import Population
from bcq_exp.envs.evaluation import AtOnce
from bcq_exp.io.checkpoint import clear_partial_checkpoints, keep_checkpoints, newest_states, save_checkpoint
from bcq_exp.io.files import clear_partials, write_json
from bcq_exp.io.interruption import Watch, watching
from bcq_exp.io.loggers.csv import CSVLogger
from bcq_exp.io.loggers.form import Loggers, end_logs, ended_logs
from bcq_exp.io.progress import Progress
from bcq_exp.training.evaluating import Metrics, Show
from bcq_exp.training.member import Member, judged_by

Stopping = Callable[[int, Sequence[float | None]], Collection[int]]
"""Chooses the members that end after an evaluation, from its number, counted from 1, and the members' mean returns;
None stands for a member that has ended before."""

log = logging.getLogger(__name__)


class Trainer:
    """The training schedule of a population: update, log, evaluate, checkpoint.

    Periods count updates. At the last update everything is due: a row, an evaluation and a checkpoint.

    A member whose loss is not finite is stopped as failed at the next event of any kind; the others continue.

    Members that `stopping` chooses after an evaluation end there as pruned; the others continue.

    A signal (`interruption.SIGNALS`) ends the run after the current update with a checkpoint. A running evaluation is
    abandoned and repeated on resuming, so the resumed run equals one that never stopped. Where the last checkpoint is
    of the current update, as before the first update, the run ends at once.

    While updates run on a GPU, the CPU evaluates copies of the policies in a thread, so the GPU does not wait. Rows
    logged meanwhile are held back until the evaluation has ended, so that loggers get whole rows in order. A checkpoint
    waits for it too; one that a signal causes stores the weights under evaluation, which the resumed run evaluates.

    Args:
        population: the policies and their updates.
        members: one for each policy of the population, in its order.
        evaluate: an `Evaluator`; measures the weights that the given members' `take_weights` took.
        eval_names: of what it measures.
        num_updates: of the whole run.
        eval_freq, log_freq, checkpoint_freq: updates between two events of a kind.
        num_checkpoints: the newest checkpoints that are kept.
        evaluates_beside: evaluate in a thread while the device continues with updates; `evaluate` must then read other
            tensors than the updates write.
        stopping: asked after each evaluation but the last; None where every member trains to the end.
    """

    def __init__(
        self,
        population: Population,
        members: Sequence[Member],
        evaluate: Callable[[Sequence[int], Show], dict[int, Metrics]],
        *,
        eval_names: Sequence[str],
        num_updates: int,
        eval_freq: int,
        log_freq: int,
        checkpoint_freq: int,
        num_checkpoints: int,
        evaluates_beside: bool,
        stopping: Stopping | None = None,
    ) -> None:
        self.population, self.members, self.evaluate = population, list(members), evaluate
        self.num_updates, self.num_checkpoints = num_updates, num_checkpoints
        self.freqs = {"log": log_freq, "eval": eval_freq, "checkpoint": checkpoint_freq}
        columns = [f"train/{name}" for name in population.metric_names]
        columns += [*eval_names, *self.members[0].diagnosed_names]
        self.csvs = [CSVLogger(member.run_dir / "metrics.csv", columns) for member in self.members]
        self.loggers = [Loggers(csv, member.logger) for csv, member in zip(self.csvs, self.members, strict=True)]
        self.failed_at: list[int | None] = population.failures()
        self.stopping = stopping
        self.seconds, self.saved_at = 0.0, 0
        self.evaluates_beside, self._watch, self._is_over = evaluates_beside, Watch(), False
        self._are_events_due = False  # at the current update
        self._evaluation: Future[dict[int, Metrics]] | None = None  # not yet settled
        self._under_evaluation: list[int] = []  # its members
        self._held: list[tuple[int, list[dict[str, float]]]] = []  # updates and each member's metrics, not yet logged
        self._evaluated: list[Any] = [None for _ in members]  # under evaluation at the checkpoint

    def resume(self) -> None:
        """Resume from the newest whole checkpoint that all members have; without any, begin.

        Raises:
            ValueError: as `newest_states`, or a checkpoint or `metrics.csv` is of another configuration.
        """
        run_dirs = [member.run_dir for member in self.members]
        for run_dir in run_dirs:
            clear_partials(run_dir)
            clear_partial_checkpoints(run_dir)
        paths, states = newest_states(run_dirs)
        try:
            texts = self._take(states) if states else [None for _ in run_dirs]
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{paths[0]} does not fit the configuration of its run: {error}") from None
        for csv, member, text in zip(self.csvs, self.members, texts, strict=True):
            csv.begin(text)
            for update, metrics in csv.rows():
                member.logger.log(update, metrics)

    def _take(self, states: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Load each member's state; returns the content of each `metrics.csv`."""
        first = states[0]
        for member, state in zip(self.members, states, strict=True):
            member.last_evaluation, member.pruned_at = state["last_evaluation"], state.get("pruned_at")
        self.population.stop([index for index, member in enumerate(self.members) if member.pruned_at is not None])
        self.population.load_state([state["learner"] for state in states])
        self.seconds, self.saved_at = first["seconds"], self.population.num_updates
        self._are_events_due = first["are_events_due"]
        known = [state["failed_at"] for state in states]
        self.failed_at = self.population.failures() if self._are_events_due else known
        held = zip(*(state["held"] for state in states), strict=True)
        self._held = [(rows[0][0], [metrics for _, metrics in rows]) for rows in held]
        self._evaluated = [state["evaluated"] for state in states]
        return [state["metrics"] for state in states]

    def run(self) -> list[dict[str, Any]]:
        """Train to the end.

        Returns:
            The members' summaries, as in `summary.json`.

        Raises:
            Interrupted: a signal came; the run is saved.
        """
        facts = self.members[0].facts
        seed = f", seed {facts['seed']}" if len(self.members) == 1 else ""
        description = f"{facts['algorithm']} on {facts['dataset']}{seed}"
        behaviour = {"score": facts.get("behaviour_normalized_score"), "return": facts.get("behaviour_return")}
        bar = Progress(self.num_updates, self.population.num_updates, description, len(self.members), behaviour)
        with ended_logs(self.loggers), watching(lambda: self.saved_at == self.population.num_updates) as self._watch:
            with ThreadPoolExecutor(1) if self.evaluates_beside else AtOnce() as evaluator, bar as progress:
                try:
                    is_whole = self._drive(evaluator, progress)
                except CancelledError:
                    is_whole = False
                finally:
                    self._is_over = True
            if is_whole:
                return self._finish()
            self._checkpoint()
            log.info("update %d is saved", self.population.num_updates)
        raise AssertionError("only a signal ends a run before its end")

    def _drive(self, evaluator: Executor, progress: Progress) -> bool:
        """Train to the end or until a signal; returns whether the end was reached."""
        taken = {index: state for index, state in enumerate(self._evaluated) if state is not None}
        for index, state in taken.items():
            self.members[index].evaluate_again(state)
        if taken:
            self._evaluate(list(taken), evaluator, progress)
        if self.stopping is not None:
            self._settle()
        while (self.population.num_updates < self.num_updates or self._are_events_due) and self._alive():
            if not self._are_events_due:
                self._advance()
            if self._watch.is_over():
                return False
            metrics = self._events(evaluator, progress)
            evaluations = [self.members[index].last_evaluation for index in self._alive()]
            num_failed = sum(at is not None for at in self.failed_at)
            compiling = self.population.compile_seconds
            progress.advance(self.population.num_updates, metrics, evaluations, num_failed, compiling)
            if self._is_due("checkpoint"):
                self._checkpoint()
        self._settle()
        return True

    def _advance(self) -> None:
        """Update until the next event or a signal, then look for failed members."""
        done = self.population.num_updates
        following = min((done // freq + 1) * freq for freq in self.freqs.values())
        start, compiling = time.perf_counter(), self.population.compile_seconds
        self.population.advance(min(following, self.num_updates) - done, self._watch.is_over)
        failures = self.population.failures()  # the device finishes its updates here
        self.seconds += time.perf_counter() - start - (self.population.compile_seconds - compiling)
        self._are_events_due = any(self._is_due(event) for event in self.freqs)
        if self._are_events_due:
            for member, known, failed_at in zip(self.members, self.failed_at, failures, strict=True):
                if failed_at != known:
                    log.error("%s: the loss is not finite at update %d; this run ends", member.run_dir, failed_at)
            self.failed_at = failures

    def _alive(self) -> list[int]:
        ends = zip(self.failed_at, (member.pruned_at for member in self.members), strict=True)
        return [index for index, ended_at in enumerate(ends) if ended_at == (None, None)]

    def _is_due(self, event: str) -> bool:
        done = self.population.num_updates
        return done % self.freqs[event] == 0 or done == self.num_updates

    def _events(self, evaluator: Executor, progress: Progress) -> dict[str, float]:
        """Evaluate and log what is due; returns the first member's metrics, for the progress line.

        Where a signal ends an evaluation, the events stay due.
        """
        metrics: list[dict[str, float]] = [{} for _ in self.members]
        alive = self._alive()
        if self._is_due("eval"):
            self._settle()
            for index in alive:
                self.members[index].take_weights()
            self._evaluate(alive, evaluator, progress)
        if self._is_due("log"):
            read = self.population.read_metrics()
            for index in alive:
                metrics[index] = {f"train/{name}": value for name, value in read[index].items()}
        self._held.append((self.population.num_updates, metrics))
        self._are_events_due = False
        must_settle = self._is_due("checkpoint") or self.stopping is not None
        if must_settle or self._evaluation is None or self._evaluation.done():
            self._settle()
        return metrics[0]

    def _evaluate(self, indices: list[int], evaluator: Executor, progress: Progress) -> None:
        """Begin the evaluation of some members; it raises CancelledError once the run is over."""

        def show(line: str) -> None:
            if self._is_over or self._watch.is_over():
                raise CancelledError
            if not self.evaluates_beside:
                progress.evaluating(line)

        self._evaluation, self._under_evaluation = evaluator.submit(self.evaluate, indices, show), indices

    def _settle(self) -> None:
        """Wait for the running evaluation, then log the rows that were held back."""
        if self._evaluation is not None:
            _, metrics = self._held[0]
            for index, evaluation in self._evaluation.result().items():
                metrics[index] |= self.members[index].take_evaluation(evaluation)
        for update, metrics in self._held:
            for logger, values in zip(self.loggers, metrics, strict=True):
                if values:
                    logger.log(update, values)
        if self._under_evaluation and self.stopping is not None:
            self._prune(self.stopping, self._held[0][0])
        self._evaluation, self._under_evaluation, self._held = None, [], []

    def _prune(self, stopping: Stopping, update: int) -> None:
        """End the members that are chosen after the evaluation at `update`; none at the last one."""
        if update == self.num_updates:
            return
        alive = self._alive()
        latest = [judged_by(member.last_evaluation) for member in self.members]
        returns = [value if index in alive else None for index, value in enumerate(latest)]
        chosen = stopping(update // self.freqs["eval"], returns)
        self.population.stop(chosen)
        for index in chosen:
            self.members[index].pruned_at = update
        if chosen:
            log.info("update %d: %d of %d members are pruned", update, len(chosen), len(alive))

    def _checkpoint(self) -> None:
        """Save all members, then remove old checkpoints, so that all members share one at any moment."""
        done = self.population.num_updates
        for index, member in enumerate(self.members):
            is_evaluated = self.evaluates_beside and index in self._under_evaluation
            state = {
                "learner": self.population.state(index),
                "seconds": self.seconds,
                "last_evaluation": member.last_evaluation,
                "failed_at": self.failed_at[index],
                "pruned_at": member.pruned_at,
                "are_events_due": self._are_events_due,
                "held": [[update, metrics[index]] for update, metrics in self._held],
                "evaluated": member.under_evaluation() if is_evaluated else None,
                "metrics": self.csvs[index].read(),
            }
            save_checkpoint(member.run_dir, done, state)
        for member in self.members:
            keep_checkpoints(member.run_dir, self.num_checkpoints, done)
        self.saved_at = done

    def _finish(self) -> list[dict[str, Any]]:
        done, compiling = self.population.num_updates, self.population.compile_seconds
        common = {
            "updates_per_second": done / self.seconds if self.seconds else None,
            "num_members": len(self.members),
            "is_compiled": self.population.is_compiled,
            "compile_seconds": compiling,
        }
        summaries = [member.summary(done, at) | common for member, at in zip(self.members, self.failed_at, strict=True)]
        for member, summary in zip(self.members, summaries, strict=True):
            write_json(member.run_dir / "summary.json", summary)
        end_logs(self.loggers, summaries)
        said = f", besides {compiling:.1f} s of compiling" if compiling else ""
        log.info("%d updates in %s%s", done, timedelta(seconds=round(self.seconds)), said)
        for member in self.members:
            member.release()
        return summaries
