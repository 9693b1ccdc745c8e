"""Tests that read the source: the layers, the sizes, the habits."""
