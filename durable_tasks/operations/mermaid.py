"""Mermaid: the graph of a workflow as text that people's tools draw.

It must not know where the graph comes from.
"""

from durable_tasks.models import TaskState
from durable_tasks.operations.answers import Graph

MEDIA_TYPE = "text/vnd.mermaid"
_COLOURS = {
    TaskState.RUNNING: "#8ecae6",
    TaskState.CLAIMED: "#8ecae6",
    TaskState.RETRYING: "#ffd166",
    TaskState.COMPLETED: "#95d5b2",
    TaskState.FAILED: "#ef8e8e",
    TaskState.CANCELLED: "#cccccc",
}


def flowchart(graph: Graph) -> str:
    """The graph as a flowchart; arrows lead from a task to those that wait for it."""
    places = {node.id: f"t{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    lines += [f'  {places[node.id]}["{_quoted(node.title)}"]:::{node.state}' for node in graph.nodes]
    lines += [
        f"  {places[parent]} --> {places[node.id]}"
        for node in graph.nodes
        for parent in node.depends_on
        if parent in places  # a task may also wait for one outside its workflow
    ]
    states = {node.state for node in graph.nodes}
    lines += [f"  classDef {state} fill:{colour}" for state, colour in _COLOURS.items() if state in states]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """As Mermaid reads it inside quotes: anything that could end them or be markup becomes an entity."""
    return "".join(one if one.isalnum() or one in " _.,:-/()" else f"#{ord(one)};" for one in text)
