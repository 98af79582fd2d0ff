"""The law at the import of this file, by which worlds are judged, also those with sabotaged services."""

from __future__ import annotations

from shared.kit.command_handler import DECIDERS as _LAWS

LAWS = dict(_LAWS)
