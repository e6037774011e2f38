"""Tests of the executor: runs, their ends, and the runner of external workers.

They must not know Temporal.
"""
