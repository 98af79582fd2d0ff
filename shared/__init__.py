"""What the four services share: the law, the log, the reference documents and the service kit."""

VERSION = "0.1.0"
"""The version of the product. Versions of events and of read models are numbered apart from it."""
