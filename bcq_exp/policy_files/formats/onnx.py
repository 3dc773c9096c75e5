"""ONNX files, which ONNX Runtime runs from Python, C, C#, Java and JavaScript."""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from bcq_exp.policy_files.formats.form import Arrays, PolicyFormat, Run, examples
from bcq_exp.policy_files.program import Port, batch_axes, quiet


class ONNX(PolicyFormat):
    """ONNX, written by torch's exporter and checked in ONNX Runtime on the processor."""

    suffix = ".onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")

    @staticmethod
    def write(traced: ExportedProgram, inputs: Sequence[Port], outputs: Sequence[Port], path: Path) -> None:
        """See `PolicyFormat`; weights are in the file, so it has at most 2 GB."""
        with quiet():
            try:
                program = torch.onnx.export(
                    traced,
                    input_names=[port.name for port in inputs],
                    output_names=[port.name for port in outputs],
                    dynamic_shapes=batch_axes(inputs),  # traced already; here they name the axis
                    dynamo=True,
                    verbose=False,
                )
            except torch.onnx.OnnxExporterError as error:
                raise ValueError(f"format=onnx: {str(error).splitlines()[0]}; give format=torch") from None
            assert program is not None
            program.save(path, external_data=False)

    @staticmethod
    def load(path: Path) -> Run:
        """See `PolicyFormat`."""
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_inputs()]

        def run(inputs: Arrays) -> Arrays:
            found: list[Any] = session.run(None, dict(zip(names, inputs, strict=True)))
            return found

        return run

    @staticmethod
    def usage(name: str, inputs: Sequence[Port]) -> list[str]:
        """See `PolicyFormat`."""
        given = ", ".join(f'"{port.name}": {port.name}' for port in inputs)
        return [
            "import numpy as np",
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({json.dumps(name)})",
            *examples(inputs),
            f'(action,) = session.run(["action"], {{{given}}})',
        ]
