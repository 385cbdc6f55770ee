"""Does it work? Training on a chosen subset against training on everything, on real interactions.

`python -m benchmarks.quality --help`; what came out is in docs/results.md.
"""
