"""Tests of telemetry: numbers and log lines as somebody outside reads them.

They must not know how they are collected.
"""
