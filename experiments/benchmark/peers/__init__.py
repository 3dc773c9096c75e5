"""Other libraries' BCQ against ours at the same work, in alternation: `python -m experiments.benchmark.peers`."""
