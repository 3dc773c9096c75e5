"""Environments: making them, their observations, and a policy's returns in them."""
