"""The figures: presets with provenance, and one simulate script and one draw script for each."""
