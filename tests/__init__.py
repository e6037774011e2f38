"""The tests. They mirror the package, one module each.

They must not depend on their order or on a service that was started by hand.
"""
