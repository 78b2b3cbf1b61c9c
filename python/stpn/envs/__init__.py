"""Environments that live in Python, for the stpn command and library."""
