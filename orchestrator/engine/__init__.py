"""The pure half: which steps are next, what their writes make of the state, what to commit."""
