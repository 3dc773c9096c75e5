"""Files of `torch.export`, which run wherever torch does."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from bcq_exp.policy_files.formats.form import Arrays, PolicyFormat, Run, examples
from bcq_exp.policy_files.program import Port


class TorchExport(PolicyFormat):
    """The archive of `torch.export.save`."""

    suffix = ".pt2"

    @staticmethod
    def write(traced: ExportedProgram, inputs: Sequence[Port], outputs: Sequence[Port], path: Path) -> None:
        """See `PolicyFormat`."""
        with path.open("wb") as file:
            torch.export.save(traced, file)

    @staticmethod
    def load(path: Path) -> Run:
        """See `PolicyFormat`."""
        with path.open("rb") as file:
            module = torch.export.load(file).module()

        def run(inputs: Arrays) -> Arrays:
            found: Any = module(*(torch.as_tensor(value) for value in inputs))
            return [value.numpy() for value in found]

        return run

    @staticmethod
    def usage(name: str, inputs: Sequence[Port]) -> list[str]:
        """See `PolicyFormat`."""
        given = ", ".join(port.name for port in inputs)
        return [
            "import numpy as np",
            "import torch",
            f"policy = torch.export.load({json.dumps(name)}).module()",
            *examples(inputs),
            f"action = policy(*map(torch.as_tensor, [{given}]))[0].numpy()",
        ]
