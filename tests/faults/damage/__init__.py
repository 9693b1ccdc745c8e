"""Injected damage: what is broken by hand in stored threads, and what becomes of them."""
