"""The demo: a real pipeline over the files of a folder, through the public API only.

It must not know anything that a user could not import.
"""
