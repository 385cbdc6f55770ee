"""Reinforcement learning of a policy: GRPO with the recommendation head (docs/method.md, section 7).

The proxy policy and the training jobs use the same trainer. Importing the modules here imports torch.
"""
