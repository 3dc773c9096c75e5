"""Trained policies as files that run without this package: written, described and compared with the policy."""
