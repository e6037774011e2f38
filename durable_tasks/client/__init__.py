"""The client: an organisation's tasks over HTTP, with the verbs that `Org` has in the application itself.

It must not know the file, Temporal or how a server answers.
"""

from durable_tasks.client.client import Client

__all__ = ["Client"]
