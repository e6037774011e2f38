"""MCP: the table of operations as tools for agents.

It must not know HTTP routes, nor decide anything that the facade decides.
"""
