"""The policy: a causal language model that reasons about a user and recommends an item (docs/method.md, 1 to 4).

Only `minirec.policy.reference` is free of torch; import the rest where the model runs.
"""
