"""The law as it is when this file is read: what judges a world, also one whose services were sabotaged."""

from __future__ import annotations

from shared.kit.command_handler import DECIDERS as _LAWS

LAWS = dict(_LAWS)
