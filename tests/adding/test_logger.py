import json
from pathlib import Path

from adding.tree import Tree
from trained import SMALL, on_file

KIND = '''"""JSON lines: an object a row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcq_exp.io.loggers.form import LoggedRun, Logger, LoggerConfig


class JSONLinesLogger(Logger):
    """A file with a JSON object a logged update."""

    def __init__(self, path: Path, digits: int) -> None:
        self._file, self._digits = path.open("w"), digits

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Append a line."""
        values = {name: round(value, self._digits) for name, value in metrics.items()}
        print(json.dumps({"update": update, **values}), file=self._file, flush=True)

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Close the file."""
        self._file.close()


@dataclass(kw_only=True)
class JSONLinesLoggerConfig(LoggerConfig):
    """How values are written."""

    digits: int

    def begin(self, run: LoggedRun) -> JSONLinesLogger:
        """Begin the file anew; a resumed run logs all its rows again."""
        return JSONLinesLogger(run.run_dir / "metrics.jsonl", self.digits)
'''


def test_a_logger_is_one_file_one_yaml_and_one_line_of_the_registry(tree: Tree, tmp_path: Path, discrete_file: Path):
    tree.write("bcq_exp/io/loggers/json_lines.py", KIND)
    tree.write("conf/logger/json_lines.yaml", "name: json_lines\ndigits: 3\n")
    registry = "bcq_exp/io/loggers/__init__.py"
    tree.replace(registry, "\nLOGGERS", "from bcq_exp.io.loggers.json_lines import JSONLinesLoggerConfig\n\nLOGGERS")
    tree.replace(registry, '    "csv":', '    "json_lines": JSONLinesLoggerConfig,\n    "csv":')
    assert len(tree.touched) <= 3

    command = ["-m", "bcq_exp.train", *SMALL, "logger=json_lines", "log_freq=10", *on_file(discrete_file)]
    done = tree.give(*command, "hydra.run.dir=run", "logger.digits=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [10, 20]
    assert lines[0]["train/loss"] == round(lines[0]["train/loss"], 2)
    assert "eval/return" in lines[1]

    refused = tree.give(*command, "hydra.run.dir=other", "logger.project=mine", cwd=tmp_path)
    assert refused.returncode == 1
    assert "error: logger.project: logger=json_lines has no such key; its keys: digits\n" in refused.stderr
    refused = tree.give(*command, "hydra.run.dir=other", "+logger.project=mine", cwd=tmp_path)
    assert "error: logger.project is not a key of JSONLinesLoggerConfig; known: " in refused.stderr
    assert not (tmp_path / "other").exists()
