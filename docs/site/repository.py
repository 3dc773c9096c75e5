"""A hook of MkDocs: files outside `docs/` that pages link to are pages of the site, so that no link leaves it.

Markdown is shown as such, code as code, a folder as the list of its files; all else is copied.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FOLDER = "repository"  # of the site
DOCS = "docs"  # of the repository
CODE = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".txt": "text", "": "text"}  # by the ends of names
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that the pages link to, and those that these link to."""
    root = root_of(config)
    waiting = {
        target for page in files.documentation_pages() for target in linked(page.content_string, repository_path(page))
    }
    seen = set[str]()
    while waiting := {path for path in waiting - seen if not path.startswith(f"{DOCS}/") and (root / path).exists()}:
        seen |= waiting
        found = set[str]()
        for path in sorted(waiting):
            text = shown(root, path)
            if text is None:
                files.append(File.generated(config, site_path(root, path), abs_src_path=str(root / path)))
            else:
                files.append(File.generated(config, site_path(root, path), content=text))
                found |= linked(text, path if (root / path).is_file() else f"{path}/index.md")
        waiting = found
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to their pages."""
    root, here = root_of(config), repository_path(page.file)

    def link(target: str) -> str:
        is_document = target.startswith(f"{DOCS}/")
        place = target.removeprefix(f"{DOCS}/") if is_document else site_path(root, target)
        return posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")

    return replaced(markdown, here, link)


def root_of(config: MkDocsConfig) -> Path:
    """The repository."""
    return Path(config.config_file_path).parents[2]


def repository_path(file: File) -> str:
    """Where a page's file is in the repository; an index page of a folder is in it."""
    path = file.src_uri
    return path.removeprefix(f"{FOLDER}/").removesuffix(".code.md") if path.startswith(FOLDER) else f"{DOCS}/{path}"


def site_path(root: Path, path: str) -> str:
    """Where a file of the repository is in the site."""
    if (root / path).is_dir():
        return f"{FOLDER}/{path}/index.md"
    return f"{FOLDER}/{path}.code.md" if Path(path).suffix in CODE else f"{FOLDER}/{path}"


def shown(root: Path, path: str) -> str | None:
    """The Markdown that shows a file; None for a file that is copied."""
    target = root / path
    if target.is_dir():
        names = sorted(each.name for each in target.iterdir() if each.is_file())
        return f"# {path}\n\n" + "".join(f"- [{name}]({name})\n" for name in names)
    if target.suffix not in {".md", *CODE}:
        return None
    text = target.read_text(encoding="utf-8")
    return text if target.suffix == ".md" else f"{UNSEARCHED}# {path}\n\n````{CODE[target.suffix]}\n{text}````\n"


def linked(text: str, here: str) -> set[str]:
    """The files that a page links to, by their paths in the repository."""
    found = (LINK.finditer(line) for line, is_prose in lines(text) if is_prose)
    return {resolved(each["path"], here) for line in found for each in line}


def resolved(path: str, here: str) -> str:
    """A relative path as one from the repository's top."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), path))


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is outside fences."""
    fence = ""
    for line in text.splitlines():
        mark = re.match(r"\s*(`{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1] == fence:
            fence = ""
            yield line, False
            continue
        yield line, not fence


def replaced(text: str, here: str, link: Callable[[str], str]) -> str:
    """The text with other links outside fences."""

    def other(found: re.Match[str]) -> str:
        return link(resolved(found["path"], here)) + (found["anchor"] or "")

    return "\n".join(LINK.sub(other, line) if is_prose else line for line, is_prose in lines(text)) + "\n"
