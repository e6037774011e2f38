"""What users' tests need: a clock to move by hand, and a conformance suite for stores.

It must not be imported by the package itself.
"""
