"""Evaluations that take a second."""

from bcq_exp.selection.request import Request, checked_request
from cases import composed

QUICK = ("num_updates=30", "batch_size=16", "network.hidden_sizes=[8]", "compile=never", "num_threads=1")


def request_of(ope: str, *overrides: str) -> Request:
    return checked_request(composed("run=DIR", f"ope={ope}", *QUICK, *overrides, config="evaluate"))
