"""The rows that come with the package; a checkout has more in ``tests/bench/rows``."""
