"""The client: the verbs of the facade over HTTP.

It must not know the store, nor anything that runs tasks.
"""
