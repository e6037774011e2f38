"""Tests of store, verbs, groups and the local engine through the Python API, on real SQLite files.

They must not know Temporal.
"""
