"""The thin submission API."""
