"""Make tables, figures and a page of finished runs."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bcq_exp.analysis.report import FILES, present
from bcq_exp.analysis.results_file import committed, read_results_file
from bcq_exp.analysis.wandb_results import folder_of, read_wandb_results
from bcq_exp.io.arguments import Parser
from bcq_exp.io.endings import in_one_line, mistakes_in_one_line

KEYS = ("results", "wandb", "group")  # of words KEY=VALUE; all other words are directories
EXAMPLES = (
    "outputs/sweeps",
    "outputs/sweeps/threshold results=discrete-bcq",
    "wandb=ENTITY/PROJECT group=threshold group=baselines",
)


def parser() -> Parser:
    """What the command takes."""
    written = f"Written into the first directory, or below outputs/wandb where there is none:\n{', '.join(FILES)}."
    usage = "%(prog)s DIR [DIR ...] [results=NAME ...] [wandb=ENTITY/PROJECT group=NAME ...]"
    made = Parser("bcq report", f"{__doc__}\n\n{written}", EXAMPLES, "docs/tutorial.md, docs/wandb.md", usage=usage)
    made.add_argument(
        "words",
        nargs="+",
        metavar="DIR",
        help="a run or sweep directory; or results=NAME: committed results to compare with, those of a table of"
        " experiments/, of one of its budgets (discrete-bcq/cpu), or of a file as this command writes it; or"
        " wandb=ENTITY/PROJECT with group=NAME, once or several times: runs in W&B",
    )
    return made


def main() -> None:
    """Print the tables, and write them and all else into the first directory."""
    words = parser().parse_args(sys.argv[1:]).words
    with in_one_line(), mistakes_in_one_line():
        directories, typed = sorted_words(words)
        project = wandb_project(typed)
        if not directories and project is None:
            raise ValueError(f"{' '.join(words)} names no directory of runs")
        others = [result for path in committed(typed["results"]) for result in read_results_file(path)]
        folder = None
        if project is not None:
            others += read_wandb_results(*project, typed["group"])
            folder = None if directories else folder_of(*project, typed["group"])
        present(directories, others, folder)


def sorted_words(words: Sequence[str]) -> tuple[list[Path], dict[str, list[str]]]:
    """The directories, and the values of each of `KEYS`."""
    directories, typed = [], dict[str, list[str]]((key, []) for key in KEYS)
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in KEYS:
            typed[key].append(value)
        else:
            directories.append(Path(word))
    return directories, typed


def wandb_project(typed: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """Entity and project of the word `wandb=`; None where there is none.

    Raises:
        ValueError: the word has another form, or there is no group, or a group without the word.
    """
    if not typed["wandb"] and not typed["group"]:
        return None
    entity, _, project = ",".join(typed["wandb"]).partition("/")
    if not entity or not project or "/" in project or len(typed["wandb"]) > 1:
        raise ValueError(f"wandb={','.join(typed['wandb'])} is not of the form wandb=ENTITY/PROJECT, once")
    if not all(typed["group"]) or not typed["group"]:
        raise ValueError(f"wandb={entity}/{project} needs group=NAME: a sweep's group, or several words of this form")
    return entity, project


if __name__ == "__main__":
    main()
