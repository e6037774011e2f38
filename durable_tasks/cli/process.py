"""The process that the command line has to itself while it serves: how Python shares it between many callers.

It must not know what is served.
"""

import gc
import sys

SWITCH = 0.001
"""Seconds after which a thread that computes, mostly for one organisation, gives way to those who wait: the event loop,
and the threads of SQLite after each statement. Python's own 5 ms, several times for each request, are long."""


def begin_serving() -> None:
    """Called once when all is loaded. It stays as long as the process does: the garbage collector, which stops
    everybody while it looks, need not look through it again each time that callers have made much."""
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()
