"""The formats of policy files, by the names that `format=` takes: one file each."""

from bcq_exp.policy_files.formats.form import PolicyFormat
from bcq_exp.policy_files.formats.onnx import ONNX
from bcq_exp.policy_files.formats.torch import TorchExport

FORMATS: dict[str, type[PolicyFormat]] = {"onnx": ONNX, "torch": TorchExport}
