"""The table of docs/reliability.md names every fault in tests/faults/, with its promise."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def promises() -> dict[str, str]:
    """First paragraphs of the modules' docstrings, by file."""
    found = {}
    for path in sorted((ROOT / "tests" / "faults").glob("test_*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, f"{path.name} has no docstring, which is its promise"
        found[path.name] = " ".join(text.split("\n\n")[0].split())
    return found


def test_the_page_states_every_promise_beside_its_file() -> None:
    lines = (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "(../tests/faults/test_" in line
    ]
    stated = {file.partition("tests/faults/")[2].rstrip(")"): promise for promise, file, *_ in cells}
    assert stated == promises()
