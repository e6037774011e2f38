"""Telemetry: what an instance tells the outside of itself: metrics for Prometheus, logs as JSON.

It must not know routes, nor change anything.
"""
