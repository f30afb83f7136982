"""Benchmarks: scripts that time and print, run by `make bench`; no test asserts a time."""
