"""Modules written by the scripts in ``derivations/``; do not edit, `make derive` writes them anew."""
