"""The events of a case and of an order, by owner. Names and fields are a storage format and are never edited.

An event changes by an optional field with a default, else by a new version with an upcast (`upcasts.py`), else by a new
name. `shared/case/samples` contains a sample of every released version; a test reads each of them.
"""

from shared.case.events.intake import *  # noqa: F403
from shared.case.events.orders import *  # noqa: F403
from shared.case.events.routing import *  # noqa: F403
from shared.case.events.supervision import *  # noqa: F403
