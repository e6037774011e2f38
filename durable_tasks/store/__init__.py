"""The store: the only package that speaks SQL; the application's SQLite file is the truth.

It must not know handlers, engines or Temporal's client.
"""
