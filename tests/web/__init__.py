"""Tests of HTTP: real servers on free loopback ports, real clients.

They must not reach past the surface but to look at the file.
"""
