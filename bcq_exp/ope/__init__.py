"""Off-policy evaluation: what a trained policy is worth, told from a dataset that other policies recorded.

Every estimate is of the discounted return from the dataset's first states, in units of the recorded reward.
"""
