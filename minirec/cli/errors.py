"""What the command itself can refuse to do."""


class CommandError(Exception):
    """An expected error; its message says what was wrong and what to do."""
