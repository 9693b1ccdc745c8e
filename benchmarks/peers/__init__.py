"""One program per peer: `python -m benchmarks.peers.<peer> WORKLOAD …` prints one line of JSON."""
