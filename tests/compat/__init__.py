"""Comparing the public names with those of LangGraph."""
