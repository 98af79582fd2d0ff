"""The tests, by tier: unit property sim contract integration e2e crash browser architecture."""
