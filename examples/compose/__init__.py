"""The example that docker-compose.temporal.yml runs: an application that owns the file, and a worker elsewhere.

It must not be imported by the package.
"""
