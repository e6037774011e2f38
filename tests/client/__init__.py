"""Tests of the client library against the real API.

They must not know how the server works inside.
"""
