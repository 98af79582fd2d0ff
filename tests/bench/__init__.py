"""The throughput and latency of caseflow, each beside a limit or a peer measured in the same run: `make bench`."""
