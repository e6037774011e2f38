"""HTTP: the ASGI application over the table of operations, live events, and the plugin for other ASGI applications.

It must not know how tasks are kept, nor decide anything that the facade decides.
"""
