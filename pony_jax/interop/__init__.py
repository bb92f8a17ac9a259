"""Checkpoints of other people's code."""
