"""What caseflow does per second, each figure beside the limit or a peer measured in the same run: `make bench`."""
