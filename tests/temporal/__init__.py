"""Tests of the bridge to Temporal: workflow, activities, relay, reconciler, engine, on a real server.
They must not share task queues or namespaces with each other.
"""
