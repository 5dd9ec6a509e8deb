"""The front door: command line, Python client, local stack. Importing it is light."""

__version__ = "0.1.0"
