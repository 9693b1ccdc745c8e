"""The life of a step: claim, load, run, commit."""
