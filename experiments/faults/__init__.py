"""Faults, made on purpose: what is promised of each is measured here."""
