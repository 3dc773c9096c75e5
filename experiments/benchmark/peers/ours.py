"""This project's engine, compiled, as a run uses it: metrics are read each `log_freq` updates."""

from bcq_exp.engine.machine import prepare_process
from experiments.benchmark.cases import flop, population, typed
from experiments.benchmark.peers.protocol import Prepared, Work, serve


def prepare(work: Work) -> Prepared:
    """A population on the work's transitions; `members` is its size."""
    columns, cfg = work.columns(), typed(work.config)
    prepare_process(cfg.schedule.num_threads)
    timed = population(cfg, columns, work.options["members"])

    def advance(num_updates: int) -> None:
        for start in range(0, num_updates, cfg.schedule.log_freq):
            timed.advance(min(cfg.schedule.log_freq, num_updates - start))
            timed.read_metrics()

    return Prepared(advance, (), {"flop": flop(work.config, columns)})


if __name__ == "__main__":
    serve(prepare)
