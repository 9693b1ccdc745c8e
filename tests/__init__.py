"""The tests of graphstalk; `CONTRIBUTING.md` says which folder holds what."""
