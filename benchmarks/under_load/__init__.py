"""What `load.py` consists of."""
