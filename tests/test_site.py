"""The site of the documents: its reference has every key of `conf/`, and it builds without a warning or a network."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.sections import leaves

ROOT = Path(__file__).parents[1]
CONF = Path(CONF_DIR)


@pytest.fixture(scope="module")
def configuration() -> ModuleType:
    spec = importlib.util.spec_from_file_location("configuration", ROOT / "docs" / "site" / "configuration.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def test_every_key_of_every_choice_is_in_the_reference_with_its_value(configuration: ModuleType):
    pages = configuration.pages()
    for path in CONF.rglob("*.yaml"):
        group = path.relative_to(CONF).parent.as_posix()
        if group == configuration.HELP:
            continue
        is_top = group == "."
        place = "index.md" if is_top else configuration.page_name(group)
        title = configuration.ENTRY_POINTS[path.stem] if is_top else path.stem
        (section,) = re.findall(rf"^## `{title}`$(.*?)(?=^## |\Z)", pages[f"configuration/{place}"], re.M | re.S)
        rows = dict(re.findall(r"^\| `([^`]+)` \| `(.*?)` \|", section, re.M))
        content = OmegaConf.to_container(OmegaConf.load(path))
        keys = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
        for key, value in leaves(keys):
            name = next((row for row in rows if key == row or key.startswith((f"{row}.", f"{row}["))), None)
            assert name, f"{path}: {key} is not in the reference"
            if name == key:
                shown = OmegaConf.to_container(OmegaConf.create(f"x: {rows[name]}"))
                assert shown == {"x": value}, f"{path}: {key} has another value"


@pytest.mark.parametrize(
    ("group", "row"),
    [
        ("algorithm", "| `unlikely_action_threshold` | `0.3` | number in [0, 1] | tau in the paper |"),
        ("algorithm", "| `optimizers.vae.lr` | `null` | number in (0, inf) or null |  |"),
        ("experiment/main", "| `optimizer.lr` | `3.0e-4` | number in (0, inf) |  |"),
        ("optimizer", "| `name` | `adam` | `adam`, `adamw` |  |"),
        ("eval_ope", "| `target_update_freq` | `3` | integer in [1, inf) |"),
        ("protocol", "| `noise.low` | `0.001` | number |"),
    ],
)
def test_a_row_has_the_value_the_range_and_the_comment(configuration: ModuleType, group: str, row: str):
    assert row in configuration.pages()[f"configuration/{configuration.page_name(group)}"]


def test_a_comment_above_keys_is_a_paragraph_above_their_table(configuration: ModuleType):
    page = configuration.pages()["configuration/preprocessing.md"]
    assert re.search(r"^Rewards: scale \* clip.*\n\n\| key .*\n.*\n\| `reward_clip` ", page, re.M)


class Loaded(HTMLParser):
    """What a page loads when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe") and given.get("src"):
            self.addresses.append(given["src"])
        elif tag == "link" and "stylesheet" in (given.get("rel") or ""):
            self.addresses.append(given["href"])


@pytest.mark.docs
def test_the_site_builds_without_a_warning_and_opens_without_a_network(tmp_path: Path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(ROOT / "docs/site/mkdocs.yml")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([*command, "-d", str(tmp_path)], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 50
    for path in pages:
        loaded = Loaded()
        loaded.feed(path.read_text(encoding="utf-8"))
        for address in loaded.addresses:
            assert not re.match(r"\w+:|//", address), f"{path.name} loads {address}"
            if path.name != "404.html":  # a server's, which begins at the top
                assert (path.parent / address).is_file(), f"{path.name} loads {address}, which is not there"
