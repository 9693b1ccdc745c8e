"""How a graph is written, checked and frozen."""
