"""Behaviour agents: those that ship, how they are trained, and what they record."""
