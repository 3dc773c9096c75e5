"""Runs in Weights & Biases: a file a command of `bcq-dashboard`, in which alone, beside `io/`, `wandb` is imported."""
