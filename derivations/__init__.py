"""Narrative scripts, one per model: run one to derive its model and write its module."""
