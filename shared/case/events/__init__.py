"""Every event of a case and of an order, by owner. Names and fields are a storage format: never edited.

Evolution: an optional field with a default, then a new version with an upcast (`upcasts.py`), then a new name. A sample
of every released version lies in `shared/case/samples` and is read back by a test for ever.
"""

from shared.case.events.intake import *  # noqa: F403
from shared.case.events.orders import *  # noqa: F403
from shared.case.events.routing import *  # noqa: F403
from shared.case.events.supervision import *  # noqa: F403
