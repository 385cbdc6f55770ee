"""Samples and catalogues: reading, checking, keeping, and the data sets of the demo."""
