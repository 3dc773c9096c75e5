"""This project's engine, compiled, as a run uses it: metrics are read each `log_freq` updates."""

from bcq_exp.engine.machine import prepare_for
from experiments.benchmark.cases import flop, population, typed
from experiments.benchmark.peers.protocol import IsOver, Prepared, Work, serve


def prepare(work: Work) -> Prepared:
    """A population on the work's transitions; `members` is its size."""
    columns, cfg = work.columns(), typed(work.config)
    num_members = work.options["members"]
    prepare_for(cfg.schedule.num_threads, num_members)
    timed = population(cfg, columns, num_members)

    def advance(num_updates: int, is_over: IsOver) -> int:
        before = timed.num_updates
        while (made := timed.num_updates - before) < num_updates and not (made and is_over()):
            timed.advance(min(cfg.schedule.log_freq, num_updates - made), is_over)
            timed.read_metrics()
        return made

    return Prepared(advance, (), {"flop": flop(work.config, columns)})


if __name__ == "__main__":
    serve(prepare)
