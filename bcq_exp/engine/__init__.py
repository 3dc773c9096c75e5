"""The training engine: policies stacked into a population that is updated by one compiled program."""
