"""What tests of this project, and of backends by others, are built from.

A backend proves itself by inheriting the contract suites in `orchestrator.testing.contract`. They
need pytest; nothing else of the package imports this one.
"""
