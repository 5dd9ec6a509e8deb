"""The local stack: real servers and photomend's own processes on one machine, on loopback, without Docker."""
