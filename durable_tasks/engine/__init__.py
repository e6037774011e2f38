"""The local engine: picks ready work, keeps the clock, the process's presence, and wakes who waits.

It must not know Temporal.
"""
