"""The policy: a causal language model that reasons about a user and recommends an item (docs/method.md, 1 to 4).

Only `minirec.policy.reference` and what it imports is free of torch; import the rest where the model runs.
"""

import os

# Read by transformers when it is imported: a configuration file must not have code fetched from a hub.
os.environ["USE_HUB_KERNELS"] = "0"
