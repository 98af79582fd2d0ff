"""The simulation: the real kit and policies in worlds of one seed each."""
