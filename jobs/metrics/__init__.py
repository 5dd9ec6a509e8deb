"""What the processes tell Prometheus: the names in one catalogue, and the few modules that turn it into text."""
