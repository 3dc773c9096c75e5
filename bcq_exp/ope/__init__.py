"""Off-policy evaluation: estimates of a trained policy's return from a dataset that other policies recorded.

Every estimate is of the discounted return from the dataset's first states, in units of the recorded reward.
"""
