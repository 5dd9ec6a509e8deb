"""The dashboard, looked at: a real stack under mixed load, a real Prometheus, each panel drawn from its answers."""
