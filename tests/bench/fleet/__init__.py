"""A fleet of 1 to 1,000 GPUs in virtual time, on the real store, feeder, sweeper and batch runner: ``make fleet``."""
