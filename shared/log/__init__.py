"""The stream: one log of immutable events, guarded by the last sequence of each aggregate."""
