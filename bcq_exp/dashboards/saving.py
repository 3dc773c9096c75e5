"""Dashboards in a JSON file beside the runs and, where somebody is logged in, in W&B."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bcq_exp.dashboards.subject import Subject, asked
from bcq_exp.io.files import read_json, write_json
from bcq_exp.io.loggers.wandb import is_logged_in
from bcq_exp.io.wandb_runs import asking, public_api


def check_packages() -> None:
    """Raise ValueError where the package that makes dashboards is not installed."""
    if find_spec("wandb_workspaces") is None:
        raise ValueError(
            "wandb-workspaces, which makes dashboards, is not installed: pip install 'bcq_exp[dashboards]'"
        )


def owner(named: str | None) -> str:
    """The owner of a project: the one named, or the user who is logged in; empty where nobody is.

    Raises:
        ValueError: the server cannot be reached, or refuses the key.
    """
    if not is_logged_in():
        return ""
    return named or str(public_api("reading your name").default_entity)


@dataclass(frozen=True)
class Dashboard:
    """A workspace or a report.

    Args:
        name: shown in W&B, and its key in the file.
        made: the object of wandb-workspaces.
        content: attributes of the object that are set anew where it was saved before.
        specification: the same object, for no owner where its specification would ask the server.
    """

    name: str
    made: Any
    content: Sequence[str]
    specification: Any

    @property
    def spec(self) -> dict[str, Any]:
        """What W&B keeps of it."""
        spec: dict[str, Any] = json.loads(
            self.specification._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
        )
        return spec

    def save(self, url: str | None) -> str:
        """Save it in W&B, in the place of the one at `url` if there is one; returns its address.

        Raises:
            ValueError: the server cannot be reached, or refuses, or has nothing at `url`.
        """
        with asking(f"saving {self.name}"):
            if url is None:
                return str(self.made.save().url)
            try:
                earlier = type(self.made).from_url(url)
            except ValueError:
                raise ValueError(
                    f"W&B has nothing at {url}, where {self.name} was saved; remove the specification to save it anew"
                ) from None
            for name in self.content:
                setattr(earlier, name, getattr(self.made, name))
            return str(earlier.save().url)


def make(
    options: argparse.Namespace, file: str, dashboards: Callable[[Subject, str, str | None], Sequence[Dashboard]]
) -> int:
    """Make dashboards of the runs that are typed, write them to a file and save them; returns the exit code.

    Args:
        options: of `subject.add_arguments`.
        file: name of the file, in the folder of the runs.
        dashboards: makes them of a subject, for an owner (empty where nobody is logged in) and with a baseline.

    Raises:
        ValueError: the runs cannot be read, there is no such baseline, or W&B cannot be reached.
    """
    check_packages()
    subject, folder = asked(options)
    entity = owner(subject.entity)
    deliver(dashboards(subject, entity, options.baseline), folder / file, entity)
    return 0


def deliver(dashboards: Sequence[Dashboard], path: Path, entity: str) -> None:
    """Write specifications to a file, save them in W&B for an owner, if there is one, and print where they are.

    A dashboard that was saved before, as the file says, is updated.

    Raises:
        ValueError: the file is damaged, or W&B cannot be reached or refuses; the file is there nevertheless.
        OSError: the file cannot be written.
    """
    before = read_json(path, "remove it, and it is made anew") if path.exists() else {}
    content = {each.name: {"spec": each.spec, "urls": before.get(each.name, {}).get("urls", {})} for each in dashboards}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    print(f"specification:  {path}")
    if not entity:
        print("not in W&B yet: nobody is logged in; after `wandb login` the same command saves it there")
        return
    for each in dashboards:
        urls = content[each.name]["urls"]
        urls[entity] = each.save(urls.get(entity))
        write_json(path, content)
        print(f"{each.name}:  {urls[entity]}", flush=True)
