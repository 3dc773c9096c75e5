"""A hook of MkDocs that adds the pages of `configuration.py` to the site."""

from typing import Any

import configuration
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

OVERVIEW = f"{configuration.FOLDER}/index.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the groups behind the overview in the navigation."""
    config.nav = [with_groups(entry) for entry in config.nav or []]
    return config


def with_groups(entry: Any) -> Any:
    """An entry of the navigation, in which the overview is followed by the pages of the groups."""
    if isinstance(entry, dict):
        if OVERVIEW in entry.values():
            return {title: list(configuration.pages()) for title in entry}
        return {title: with_groups(content) for title, content in entry.items()}
    return [with_groups(each) for each in entry] if isinstance(entry, list) else entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for place, text in configuration.pages().items():
        files.append(File.generated(config, place, content=text))
    return files
