"""Tools for the makers: what is generated, what is checked, what is measured. They need a checkout."""

from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
