"""Breaking the code on purpose, to see that the tests notice."""
