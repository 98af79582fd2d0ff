"""`python -m shared.cli`."""

from __future__ import annotations

from shared.cli import main

if __name__ == "__main__":
    main()
