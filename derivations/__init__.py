"""Narrative scripts: one per model, which derives it and writes its module, and one for the limit itself."""
