"""Benchmarks: this package beside raw SQLite and bare Temporal, measured in the same run.

They are not shipped and must not be imported by the package or its tests.
"""
