"""The executor: runs handlers for both engines.

It must not know which engine asks, nor speak SQL or Temporal.
"""
