"""Equations: tensors in, tensors out; no modules, no random numbers."""
