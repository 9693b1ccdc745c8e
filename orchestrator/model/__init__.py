"""The records a thread is made of."""
