"""A callback of Hydra that gives each start a directory of its own, before Hydra makes one.

Imports nothing heavy: Hydra loads every plugin at each start, whatever the program.
"""

import atexit
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException


class Directories(Callback):
    """Makes the directories of runs and sweeps; those that stay empty are removed when the process ends.

    A directory that is named by the time is new, so that two starts in one second get two. One that is typed is left as
    it is: whether a run may begin there is decided when its data have been read.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the run's directory."""
        if config.hydra.output_subdir is not None:
            raise SystemExit(
                f"error: hydra.output_subdir={config.hydra.output_subdir}: a run keeps its configuration in .hydra"
                " of its directory; drop the key"
            )
        resume = config.get("resume")
        if isinstance(resume, str) and not Path(resume).is_dir():
            raise SystemExit(f"error: resume={resume}: there is no such directory; give one of a run")
        _prepare(config, "run", is_new=not resume)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the sweep's directory."""
        _prepare(config, "sweep", is_new=True)


def _prepare(config: DictConfig, kind: str, *, is_new: bool) -> None:
    from bcq_exp.io.files import refusal
    from bcq_exp.training.directories import make_new, missing_folders, remove_empty

    section = config.hydra[kind]
    try:
        path = Path(section.dir)
    except OmegaConfBaseException as error:
        raise SystemExit(f"error: hydra.{kind}.dir cannot be resolved: {str(error).splitlines()[0]}") from None
    made = missing_folders(path)
    try:
        if is_new and "${now:" in OmegaConf.to_container(section)["dir"]:  # type: ignore[index, call-overload]
            path = make_new(path)
            with read_write(config), open_dict(config):
                section.dir = str(path)
            made = [*made, path.absolute()]
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"error: {refusal(error) or error}") from None
    atexit.register(remove_empty, made)
