"""The Temporal activities: classes that carry a workflow's questions to the ports they were constructed with.

They must not know SQL, the store's implementation, a Temporal client or which workflow is asking.
"""
