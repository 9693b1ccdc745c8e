"""A seeded world in which the real engine runs, and in which nothing can be relied upon."""
