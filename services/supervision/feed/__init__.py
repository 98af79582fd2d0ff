"""Feeds up the hierarchy: items derived from the log by one writer, kept in FEED, sent as server-sent events."""
