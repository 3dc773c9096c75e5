"""The documents as their readers use them: blocks of code, commands, and the same commands at a small budget.

A command keeps its words, but for these rules:

- `SMALL` has the keys that a program gets in place of those that were typed, where the configuration has them.
- Of each swept key the first two values are taken.
- A name in capitals is a file or folder of the test, `outputs/DATE/TIME-NAME` the newest run of that name, and the last
  part RUN of a path the first run below it.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from cases import composed

ROOT = Path(__file__).parents[1]
TESTED_BY = {"own-data.md": "test_own_data.py", "mistakes.md": "test_mistakes.py"}  # pages with a test of their own
PAGES = {
    path.name: path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if path.name not in TESTED_BY
}

SMALL = {
    "train": {
        "num_updates": "20", "eval_freq": "20", "eval_episodes": "1", "eval_max_steps": "200", "log_freq": "10",
        "checkpoint_freq": "20", "batch_size": "16", "num_threads": "1", "compile": "never",
        "network.hidden_sizes": "[8]", "network.vae_hidden_sizes": "[8]", "dataset.num_transitions": "2000",
        "eval_ope.num_updates": "20", "eval_ope.network.hidden_sizes": "[8]",
        "hydra.sweeper.num_trials": "2", "hydra.sweeper.num_seeds": "2",
    },
    "collect": {"dataset.num_transitions": "2000"},
    "evaluate": {
        "num_updates": "20", "batch_size": "16", "num_resamples": "100", "min_ess": "1", "episodes": "1",
        "num_threads": "1", "compile": "never", "network.hidden_sizes": "[8]",
    },
    "export": {},
}  # fmt: skip
CONFIG = {"train": "config", "collect": "collect", "evaluate": "evaluate", "export": "export"}


@dataclass(frozen=True)
class Block:
    """A block of code; `language` and `title` are those of its fence, empty for an indented one."""

    text: str
    language: str = ""
    title: str = ""


def blocks(path: Path) -> list[Block]:
    """The fenced and the indented blocks of a page, in order."""
    found, lines, number = [], path.read_text(encoding="utf-8").splitlines(), 0
    while number < len(lines):
        before, line = lines[number - 1] if number else "", lines[number]
        number += 1
        if fence := re.match(r"```(\w*)(?: title=\"(.*)\")?$", line):
            end = lines.index("```", number)
            found.append(Block("".join(f"{each}\n" for each in lines[number:end]), fence[1], fence[2] or ""))
            number = end + 1
        elif line.startswith("    ") and not before.strip():
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text = "\n".join(each.removeprefix("    ") for each in lines[number - 1 : end])
            found.append(Block(text.rstrip() + "\n"))
            number = end
    return found


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a block."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def is_python(block: Block) -> bool:
    """Whether a block is a program of Python."""
    return block.language == "python" or bool(re.match(r"(from [\w.]+ )?import ", block.text))


def program(words: Sequence[str]) -> tuple[str, list[str]]:
    """The program of a command and the words behind it.

    `train` is that of `bcq train`, `bcq-train` and `python -m bcq_exp.train`.
    """
    if words[0] == "bcq" and len(words) > 1:
        return words[1], list(words[2:])
    if list(words[:2]) == ["python", "-m"]:
        return words[2].removeprefix("bcq_exp."), list(words[3:])
    return words[0].removeprefix("bcq-"), list(words[1:])


def overrides(words: Sequence[str]) -> list[Override]:
    """The overrides among the words of a command."""
    return OverridesParser.create().parse_overrides([word for word in words if not word.startswith("-")])


def first_values(override: Override, number: int) -> list[str]:
    """The first values of a swept key, as words; of another key its one value."""
    if not override.is_sweep_override():
        return [override.input_line.partition("=")[2]]
    values = islice(override.sweep_string_iterator(), number)
    return list(values)


def composed_first(name: str, words: Sequence[str], *, hydra: bool = False):
    """The configuration of a command, of a sweep that of its first job."""
    typed = [each for each in overrides(words) if not each.is_hydra_override() or hydra]
    return composed(
        *(f"{each.get_key_element()}={first_values(each, 1)[0]}" for each in typed), config=CONFIG[name], hydra=hydra
    )


def at_small_budget(name: str, words: Sequence[str], folder: Path, files: dict[str, Path]) -> list[str]:
    """The words of a command of Hydra by the rules above.

    Args:
        name: of the program.
        words: behind it.
        folder: where it is given.
        files: by their names in capitals.
    """
    named = [with_runs(with_files(word, files), folder) for word in words]
    if name not in SMALL or named[:1] in (["inspect"], ["convert"], ["treatment"]):
        return named
    flags = [word for word in named if word.startswith("-")]
    typed = overrides(named)
    if any(each.key_or_group == "resume" for each in typed):
        return ["num_updates=40" if each.key_or_group == "num_updates" else each.input_line for each in typed]
    cfg = composed_first(name, named, hydra=True)
    small = {key: value for key, value in SMALL[name].items() if OmegaConf.select(cfg, key) is not None}
    kept = [
        f"{each.get_key_element()}={','.join(first_values(each, 2))}"
        for each in typed
        if each.key_or_group not in small
    ]
    return [*flags, *kept, *(f"{key}={value}" for key, value in small.items())]


def with_files(word: str, files: dict[str, Path]) -> str:
    """A word in which names in capitals are files of the test."""
    for name, path in files.items():
        word = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", str(path), word)
    return word


def with_runs(word: str, folder: Path) -> str:
    """A word in which a dated run, or RUN below a sweep, is one that is in the folder."""
    if dated := re.search(r"outputs/2\d{3}-\d\d-\d\d/\d\d-\d\d-\d\d-([\w-]+)", word):
        newest = max(folder.glob(f"outputs/*/*-{dated[1]}"), key=lambda path: path.stat().st_mtime)
        word = word.replace(dated[0], str(newest.relative_to(folder)))
    if sweep := re.search(r"(outputs/\S+)/RUN$", word):
        first = min((folder / sweep[1]).glob("*/checkpoints")).parent
        word = word.replace(sweep[0], str(first.relative_to(folder)))
    return word
