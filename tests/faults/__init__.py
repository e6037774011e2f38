"""Faults: processes killed, stopped and started at any instant, servers that forget, and files that grow.
Nothing here is simulated; what is measured is printed.
"""
