"""Tests of MCP: tools, transports and what agents are told.

It must not test what the operations themselves do beyond what an agent sees.
"""
