"""How fast this machine restores, beside the upstream pipeline: processes that are handed the same work in turn."""
