"""Choices of the groups in `conf/`, read from its files."""

import textwrap
from pathlib import Path

from omegaconf import OmegaConf

from bcq_exp.io.source import CONF_DIR

WIDTH = 110  # columns of help


def choices(group: str) -> list[str]:
    """The names that may follow `GROUP=`, in alphabetical order, those of subfolders last: `bcq`, `main/bcq`."""
    folder = Path(CONF_DIR) / group
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted(names, key=lambda name: (name.count("/"), name))


def is_group(key: str) -> bool:
    """Whether a key chooses a file: `algorithm`, `hydra/launcher`."""
    return "/" in key or (Path(CONF_DIR) / key).is_dir()


def listed(*groups: str) -> str:
    """A paragraph a group, for help: its name and its choices."""
    paragraphs = [
        textwrap.wrap(
            " ".join(choices(group)),
            WIDTH,
            initial_indent=f"{group + '=':<12}",
            subsequent_indent=" " * 12,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for group in groups
    ]
    return "\n".join(line for lines in paragraphs for line in lines)


OmegaConf.register_new_resolver("choices", listed, replace=True)
