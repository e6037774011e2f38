"""The command line: a thin surface over the facade.

It must not know SQL, Temporal's client or how tasks run.
"""
