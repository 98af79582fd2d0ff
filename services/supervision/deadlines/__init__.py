"""Time: the agenda of what is due, the ticker that fires it, and why a due moment is what it is."""
