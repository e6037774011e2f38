"""The bridge to Temporal: the only package that speaks to a Temporal server as a client or starts one.

It must not know SQL, HTTP or the state machine's rules.
"""
