"""Tables of the figures, for the terminal and for a file."""

from collections.abc import Mapping, Sequence

from bcq_exp.analysis.grid import Grid
from experiments.benchmark.peers.arena import Timing, median
from experiments.benchmark.peers.sweep import NUM_MEMBERS, SweepRow

UPDATES = ("update", "threads", "contestant", "ms", "rounds", "times as fast as the fastest peer", "times the floor")
SWEEPS = ("contestant", "wall s", "ms", "times as fast as the fastest peer", "times the floor", "what was run")


def floors(timings: Sequence[Timing]) -> dict[tuple[str, int | None, str], float]:
    """Milliseconds of an update's matrix operations at the measured rate, by title, threads and precision."""
    found: dict[tuple[str, int | None, str], float] = {}
    for timing in timings:
        if timing.rates:
            key = (timing.title, timing.num_threads, timing.contestant.precision)
            rate = median(timing.rates)
            assert rate is not None
            found.setdefault(key, 1e3 * timing.facts["flop"] / rate)
    return found


def ratio(numerator: float | None, denominator: float | None) -> str:
    """A quotient with two decimals (one from 10 on); a dash where a figure is missing."""
    if numerator is None or denominator is None:
        return "-"
    quotient = numerator / denominator
    return f"{quotient:.2f}" if quotient < 10 else f"{quotient:.1f}"


def least(values: Sequence[float | None]) -> float | None:
    """The smallest value that is not None; None where there is none."""
    return min((value for value in values if value is not None), default=None)


def updates(timings: Sequence[Timing]) -> Grid:
    """A row a contestant, case and number of threads; peers are compared at the same number of threads."""
    floor, rows = floors(timings), []
    for timing in timings:
        rivals = [e for e in timings if (e.title, e.num_threads) == (timing.title, timing.num_threads)]
        fastest = least([median(rival.ms) for rival in rivals if rival.contestant.is_peer])
        ms = median(timing.ms)
        if timing.error is not None or ms is None:
            figures = [f"failed: {timing.error}", "-", "-", "-"]
        else:
            over = floor.get((timing.title, timing.num_threads, timing.contestant.precision))
            spread = f"{min(timing.ms):.3g} to {max(timing.ms):.3g}"
            figures = [f"{ms:.3g}", spread, ratio(fastest, ms), ratio(ms, over)]
        rows.append((timing.title, str(timing.num_threads or "auto"), timing.contestant.name, *figures))
    return Grid(
        "Milliseconds an update (and member): medians over rounds", UPDATES, rows, texts=("contestant", "rounds")
    )


def sweeps(found: Sequence[SweepRow], floor_ms: float | None) -> Grid:
    """A row a way to train the members.

    Args:
        found: rows.
        floor_ms: of an update of one member.
    """
    fastest = least([row.seconds for row in found if row.is_peer])
    rows: list[tuple[str, ...]] = []
    for row in found:
        if row.seconds is None or row.ms is None:
            rows.append((row.name, f"failed: {row.error}", "-", "-", "-", row.how))
        else:
            figures = (f"{row.seconds:.0f}", f"{row.ms:.3g}", ratio(fastest, row.seconds), ratio(row.ms, floor_ms))
            rows.append((row.name, *figures, row.how))
    num_updates = found[0].num_updates
    title = f"A sweep of {NUM_MEMBERS} discrete members, 256-256, batch 64, {num_updates:,} updates each, start to end"
    return Grid(title, SWEEPS, rows, texts=("what was run",))


def report(
    title: str,
    grids: Sequence[Grid],
    notes: Mapping[str, str],
    *,
    about: str,
    machine: str,
    versions: Mapping[str, str],
    how: str,
) -> str:
    """Write the file's text: figures, machine, versions and command.

    Args:
        title: of the file.
        grids: tables.
        notes: what each contestant's update includes.
        about: how the figures were measured.
        machine: its description.
        versions: of packages.
        how: the command, and the day.
    """
    packages = ", ".join(f"{name} {versions[name]}" for name in sorted(versions)) or "Versions: none was asked"
    parts = [
        f"# {title}",
        f"{machine}. {packages}. {how}",
        about,
        "\n".join(f"- {name}: {note}." for name, note in notes.items()),
        *[grid.markdown(level=2).rstrip() for grid in grids],
    ]
    return "\n\n".join(parts) + "\n"
