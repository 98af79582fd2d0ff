"""What the four services share: the law, the log, the reference documents and the service kit."""
