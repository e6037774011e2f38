"""The operations that surfaces offer: what each takes, answers and needs, once for HTTP, MCP, the client and the CLI.

They must not know any surface's protocol beyond the names and places in the table.
"""
