"""Sweeper and auditor: they continue threads whose processes have died."""
