"""Identity: how a caller proves who they are; what comes out is a Principal.

It must not know operations, routes or status codes.
"""
