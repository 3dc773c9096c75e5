"""Another process that keeps one core at work, asked for by the contestants' protocol; `kind` says with what."""

import torch

from experiments.benchmark.peers.protocol import IsOver, Prepared, Work, repeat, serve

SIZE = 512  # of the matrices


def count() -> None:
    """About a millisecond of plain Python."""
    number = 0
    while number < 20_000:
        number += 1


def prepare(work: Work) -> Prepared:
    """The work that the option `kind` names: loop, or products."""
    a = torch.randn(SIZE, SIZE)
    works = {"loop": count, "products": lambda: torch.mm(a, a)}

    def advance(num_updates: int, is_over: IsOver) -> int:
        return repeat(works[work.options["kind"]], num_updates, is_over)

    return Prepared(advance, (), {})


if __name__ == "__main__":
    serve(prepare)
