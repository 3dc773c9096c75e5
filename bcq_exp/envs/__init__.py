"""Environments: how they are made, what they show, and what a policy's episodes in them return."""
