"""Deadlines in time: the agenda of timers, the ticker that fires them, and the explanation of a due moment."""
