"""The file of results: a section a driver, which a later run of the driver replaces."""

import re
from collections.abc import Sequence
from pathlib import Path

TITLE = "# Reliability"


def write_section(path: Path, title: str, paragraphs: Sequence[str]) -> None:
    """Write a section into a Markdown file, in place of the one with the same title; the others stay.

    Args:
        path: a file that exists or not.
        title: of the section.
        paragraphs: of Markdown.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else f"{TITLE}\n"
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    written = "\n\n".join([f"## {title}", *paragraphs]) + "\n"
    titles = [section.partition("\n")[0].removeprefix("## ") for section in sections]
    if title in titles:
        sections[titles.index(title)] = written
    else:
        sections.append(written)
    path.write_text("\n\n".join(part.strip() for part in (head, *sections)) + "\n", encoding="utf-8")
