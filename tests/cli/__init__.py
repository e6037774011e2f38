"""Tests of the command line, as real processes.

It must not know how commands are implemented.
"""
