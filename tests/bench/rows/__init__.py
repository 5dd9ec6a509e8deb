"""Rows that a user does not need: parts of the pipeline beside upstream's; see ``photomend.bench.contest``."""
