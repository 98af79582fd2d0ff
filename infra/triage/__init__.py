"""The trial of routing rules on past cases, and the points that past cases teach."""
