"""The service kit: what all four services are built from, and the only road to time, tables, keys and traces."""
