"""MiniRec: which samples an LLM recommender should be trained on, and in which order."""

__version__ = "0.2.0"
