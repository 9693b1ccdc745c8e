"""Graphs to read, run and copy from."""
