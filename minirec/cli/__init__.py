"""The `minirec` command: built on the SDK; what needs more than the base install is imported when it is used."""
