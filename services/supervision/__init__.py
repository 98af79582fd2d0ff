"""Supervision owns time, urging, orders, escalation, holds and erasure; it is the only service with a ticker."""
