"""Tests of how callers prove who they are: forged proofs of every kind, real issuers, real files.

They must not know any surface.
"""
