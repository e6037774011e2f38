"""The Temporal workflow definitions: deterministic code that decides order, timers and waiting.

They must not know the store, a driver, a Temporal client, the machine's clock or the process they run in.
"""
