"""What a run shows: a bar on a real pseudo-terminal, plain lines elsewhere."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import ItemsView
from pathlib import Path

import pytest

from bcq_exp.io.progress import Board, Progress, episodes, sparkline


def returned(*returns: float) -> list[dict[str, float]]:
    """Evaluations of an environment without reference returns."""
    return [{"eval/return": value, "eval/length": 7.0} for value in returns]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bcq_exp.io.progress.monotonic", clock)
    return clock


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "bcq_exp.io.progress"]


def test_plain_line_has_the_facts_counted_in_this_process(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=20_000, start=5_000, description="bcq pendulum", num_members=1) as progress:
        clock.now += 20.0
        progress.advance(6_000, {"critic1_loss": 0.12345678, "q_mean": 3.0, "vae_loss": 2.0}, [], num_failed=0)
        clock.now += 20.0
        progress.advance(7_000, {"train/critic1_loss": float("nan")}, returned(87.25), num_failed=0)
    # 1,000 updates in 20 s of this process are 50 a second; the 14,000 that are left take 280 s.
    assert messages(caplog) == [
        "bcq pendulum 6000/20000 critic1_loss 0.1235, vae_loss 2, 50 updates/s, 0:04:40 left",
        "bcq pendulum 7000/20000 critic1_loss nan, return 87.25, 50 updates/s, 0:04:20 left",
    ]


def test_a_population_shows_its_members_and_their_best_and_median_score(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=60_000, start=1_000, description="dqn cartpole", num_members=8) as progress:
        clock.now += 10.0
        progress.advance(5_000, {"critic1_loss": 0.5}, [], num_failed=0)
        clock.now += 10.0
        progress.advance(17_240, {}, returned(1.0, 231.25, 200.25, 209.5, 4.0, 231.0, 9.0, 209.75), num_failed=0)
        clock.now += 20.0
        progress.advance(33_480, {}, returned(-3.0, -1.0, -2.0), num_failed=5)
    # Updates of this process: 4,000 in 10 s, then 16,240 in 20 s, then 32,480 in 40 s. The fourth and fifth of eight
    # scores are 200.25 and 209.5.
    assert messages(caplog) == [
        "dqn cartpole 5000/60000 8 members | 400 updates/s x 8 | 0:02:18 left",
        "dqn cartpole 17240/60000 8 members | best return 231.2 median 204.9 | 812 updates/s x 8 | 0:00:53 left",
        "dqn cartpole 33480/60000 8 members, 5 failed | best return -1 median -2 | 812 updates/s x 8 | 0:00:33 left",
    ]


def test_plain_lines_are_ten_seconds_apart_and_the_last_one_is_shown(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=100, start=0, description="run", num_members=1) as progress:
        for update in range(1, 25):
            clock.now += 1.0
            progress.advance(update, {}, returned(5.0), num_failed=0)
    assert messages(caplog) == [
        f"run {update}/100 return 5, 1 updates/s, 0:0{minutes} left"
        for update, minutes in ((10, "1:30"), (20, "1:20"), (24, "1:16"))
    ]


def test_words_are_composed_where_they_are_shown_only(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    class Losses(dict[str, float]):
        num_read = 0

        def items(self) -> ItemsView[str, float]:
            Losses.num_read += 1
            return super().items()

    caplog.set_level(logging.INFO)
    with Progress(total=100, start=0, description="run", num_members=1) as progress:
        for update in range(1, 26):
            clock.now += 1.0
            progress.advance(update, Losses(loss=0.5), [], num_failed=0)
    assert Losses.num_read == len(messages(caplog)) == 3  # after 10 and 20 seconds, and at the end


def test_compiling_is_no_part_of_the_speed(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=1_000, start=0, description="run", num_members=1) as progress:
        clock.now += 50.0
        progress.advance(200, {}, [], num_failed=0, compile_seconds=30.0)
    # 200 updates in 20 s: the other 800 take 80 s.
    assert messages(caplog) == ["run 200/1000 10 updates/s, 0:01:20 left"]


def test_where_there_is_a_normalised_score_it_is_shown(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    evaluations = [{"eval/return": -180.5, "eval/normalized_score": score} for score in (12.5, 80.0)]
    for given in (evaluations[:1], evaluations, [*evaluations, {}]):
        with Progress(total=10, start=4, description="run", num_members=len(given)) as progress:
            progress.advance(4, {}, given, num_failed=0)
    assert messages(caplog) == [
        "run 4/10 score 12.5",
        "run 4/10 2 members | best score 80 median 46.25",
        "run 4/10 3 members | best score 80 median 46.25",
    ]


def test_a_line_is_not_repeated_at_the_end(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=10, start=0, description="run", num_members=1) as progress:
        clock.now += 10.0
        progress.advance(10, {}, [], num_failed=0)
    assert messages(caplog) == ["run 10/10 1 updates/s, 0:00:00 left"]


def test_before_the_first_update_there_is_no_speed(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=10, start=4, description="run", num_members=1) as progress:
        clock.now += 1.0
        progress.advance(4, {}, returned(-180.5), num_failed=0)
    assert messages(caplog) == ["run 4/10 return -180.5"]


def test_an_evaluation_is_shown_until_the_next_updates(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    with Progress(total=10, start=0, description="run", num_members=3) as progress:
        progress.advance(4, {}, [], num_failed=0)
        for seconds, steps in ((9.0, 8_000), (1.0, 12_500), (9.0, 20_000)):
            clock.now += seconds
            progress.evaluating(episodes(4, steps))
        progress.advance(5, {}, returned(2.0), num_failed=0)
    # 12,500 steps are the first to be ten seconds after the beginning; what comes later is overtaken by an update.
    assert messages(caplog) == [
        "run 4/10 evaluating 3 members: 4 episodes ended, 12,500 steps",
        "run 5/10 3 members | best return 2 median 2 | 0.2632 updates/s x 3 | 0:00:19 left",
    ]


def test_a_board_is_a_line_when_it_changes_and_its_period_has_passed(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO)
    with Board(period=10.0) as board:
        for line in ("a", "b", "b", "c"):
            clock.now += 6.0
            board.show(line)
    with Board() as board:
        for line in ("d", "d", "e"):
            board.show(line)
    assert messages(caplog) == ["b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("values", "width", "blocks"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([7, 0, 3.4, 3.6, 7], 8, "█▁▄▅█"),  # 3.4 and 3.6 round to the levels 3 and 4
        ([-200, -100, 100, 500], 3, "▁▃█"),  # of the last three: 2.33 of 7 levels for 100
        ([5, 5, 5], 8, "▄▄▄"),
        ([1, float("nan"), 2, float("inf")], 8, "▁ █ "),
        ([1, 2], 0, ""),
        ([], 8, ""),
    ],
)
def test_a_curve_has_blocks_of_heights_between_its_extremes(values: list[float], width: int, blocks: str) -> None:
    assert sparkline(values, width) == blocks


SCRIPT = """
import logging
from bcq_exp.io.progress import Progress
logging.basicConfig(level=logging.INFO, format="%(message)s")
with Progress(200, 0, "[bcq] on pendulum-noisy, seed 0", MEMBERS, {"return": 40.0, "score": None}) as progress:
    logging.info("a warning")
    for number, returns in enumerate([(0.0, 10.0), (10.0, 20.0), (4.0, 6.0), (70.0, 80.0)], start=1):
        evaluations = [{"eval/return": value} for value in returns[:MEMBERS]]
        for update in (40 * number, 40 * number + 5):  # the second has the evaluations of the first
            progress.advance(update, {"critic1_loss": 0.5}, evaluations, num_failed=0)
"""


def on_terminal(columns: int, num_members: int, **environment: str) -> str:
    """What SCRIPT writes to a terminal of so many columns."""
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key != "CI"}
    env |= {"TERM": "xterm", "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SCRIPT.replace("MEMBERS", str(num_members))]
    subprocess.run(command, env=env | environment, cwd=root, stderr=terminal, check=True)
    os.close(terminal)
    shown = os.read(master, 65536).decode()
    os.close(master)
    return shown


def screen(shown: str) -> list[str]:
    """What stays on the terminal: lines are overwritten after the cursor has moved up."""
    rows, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", shown):
        if part == "\n":
            row += 1
            rows += [""] * (row == len(rows))
        elif found := re.fullmatch(r"\x1b\[(\d*)A", part):
            row -= int(found[1] or 1)
        elif re.fullmatch(r"\x1b\[\d?K", part):
            rows[row] = ""
        elif not part.startswith(("\x1b", "\r")):
            rows[row] += part
    return [line.rstrip() for line in rows if line.strip()]


def test_on_a_terminal_a_bar_facts_and_the_curve_beside_the_behaviour() -> None:
    log_line, bar, facts, curve = screen(on_terminal(120, 1))
    assert log_line == "a warning"
    assert re.fullmatch(r"\[bcq\] on pendulum-noisy, seed 0 ━[━╸╺ ]* 165/200", bar)
    assert re.fullmatch(r"0:00:\d\d left, [\d.e+]+ updates/s, critic1_loss 0.5, return 70", facts)
    assert curve == "return ▁▂▁█ 70, behaviour 40 (+30)"


def test_a_population_shows_the_curve_of_its_median() -> None:
    *_, facts, curve = screen(on_terminal(120, 2))
    assert facts.endswith("updates/s x 2 | 2 members | best return 80 median 75")
    assert curve == "median return ▁▂▁█ 75, behaviour 40 (+35)"


@pytest.mark.parametrize("num_members", [1, 2])
def test_no_line_is_wider_than_a_narrow_terminal(num_members: int) -> None:
    lines = screen(on_terminal(40, num_members))
    assert len(lines) == 4
    assert max(map(len, lines)) <= 40
    assert lines[1].endswith("165/200")
    assert re.match(r"0:00:\d\d left", lines[2])
    assert lines[3].endswith("▁▂▁█ 70, behaviour 40" if num_members == 1 else "▁▂▁█ 75, behaviour 40")


def test_under_ci_a_terminal_gets_plain_lines() -> None:
    shown = on_terminal(160, 1, CI="true")
    facts = r"critic1_loss 0.5, return 70, [\d.e+]+ updates/s, 0:00:\d\d left"
    assert re.fullmatch(rf"a warning\s+\[bcq\] on pendulum-noisy, seed 0 165/200 {facts}", shown.strip())
    assert "\x1b" not in shown
