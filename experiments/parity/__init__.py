"""Our updates against those of the authors' own code: `python -m experiments.parity`."""
