"""What an agent should know of each tool beyond its summary: above all, what to do next.

It must not know protocols; the names are those of the table of operations.
"""

from collections.abc import Mapping

_PAGES = "While next_cursor is not null, even with no items, call again with cursor set to it and the same filters."
_MANY = (
    "Call it with dry_run: true first, and look whether matched is what you expect. While more is true, call again with"
    " cursor set to next_cursor."
)
_HOLD = (
    "Keep the token: call start_task, then progress_task or heartbeat_task before lease_expires_at, and end with"
    " complete_task, fail_task or release_task."
)

HINTS: Mapping[str, str] = {
    "create_task": (
        "Without a capability it waits for whoever takes it with next_task or claim_task; with one, a handler of the"
        " application runs it: follow it with wait_task. With an idempotency_key the call may be repeated."
    ),
    "create_tasks": "The answer has them in the same order.",
    "list_tasks": (
        'state: ["pending"] shows what can be claimed, waiting_for_me what you hold or may take. What is in omitted is'
        f" shown by get_task. {_PAGES}"
    ),
    "count_tasks": "The filters are those of list_tasks. When complete is false there are more.",
    "cancel_tasks": f"{_MANY} For all tasks of a workflow use cancel_workflow.",
    "retry_tasks": f"{_MANY} Members of an ended workflow refuse: use retry_workflow.",
    "get_task": (
        "A form is the JSON Schema that complete_task holds its output against. list_attempts shows its executions,"
        " list_events what happened to it."
    ),
    "update_task": (
        "Fields that are left out stay. With version, it changes only if nobody else has edited it."
        " assigned_to takes it from whoever holds it, and gives it to somebody else; null, to anybody."
    ),
    "next_task": f"result is null when there is nothing to do: try again later. Else it is yours. {_HOLD}",
    "claim_task": f"Use next_task instead when any task will do. {_HOLD}",
    "start_task": "Do the work next.",
    "heartbeat_task": (
        "Call it before lease_expires_at. When cancel_requested is true, stop working and call release_task."
    ),
    "progress_task": "It also counts as a heartbeat.",
    "complete_task": (
        "output is any JSON value; where the task has a form, one that fits it. Tasks that depend on this one"
        " can read it."
    ),
    "fail_task": "retryable: false when another try cannot help.",
    "release_task": "Another agent can take it then.",
    "cancel_task": "Tasks that depend on it are cancelled too, unless they say otherwise.",
    "retry_task": "For a member of an ended workflow use retry_workflow.",
    "comment_task": "It changes nothing else. list_events of the task has what was said: task.commented, text and by.",
    "wait_task": "When ended is false, call it again.",
    "list_attempts": "",
    "list_events": "Call again with after set to the last seq for what happened since.",
    "create_workflow": (
        "pipeline: one after the other; fan_out: side by side; dag: as depends_on says, by the tasks' names."
        " Follow it with wait_workflow."
    ),
    "list_workflows": _PAGES,
    "list_workflow_attempts": "list_attempts shows those of one task.",
    "get_workflow": f"graph_workflow is shorter: names, states and dependencies only. {_PAGES}",
    "graph_workflow": "get_workflow has the tasks in full.",
    "add_tasks": "Not possible once it has ended.",
    "cancel_workflow": "",
    "retry_workflow": "Follow it with wait_workflow.",
    "wait_workflow": "When ended is false, call it again.",
    "get_me": "",
    "explain_task": "What it waits for may be your own claim: claim_task takes it.",
    "list_queues": "list_tasks shows the tasks themselves.",
    "measure_org": "",
    "list_orgs": "",
    "diagnose_org": (
        "waiting says for what each task waits; most of it is no trouble. For more tasks use list_tasks, for a refused"
        " start redrive_dead_letter once its cause is gone."
    ),
    "redrive_dead_letter": "letter_id is the id of one of dead_letters in diagnose_org. Follow it with get_task.",
    "describe_task": "When the two sides disagree for more than a minute, diagnose_org says where else.",
    "signal_task": "Prefer claim_task, complete_task and their kin, which answer; look with get_task what came of it.",
    "query_task": "It answers as it last heard of the task; get_task says how the task stands.",
    "start_temporal_workflow": (
        "It runs on your own Temporal worker, and no task of ours belongs to it: for tasks use create_task and"
        " create_workflow. Look at it with describe_temporal_workflow."
    ),
    "describe_temporal_workflow": "",
    "signal_temporal_workflow": "For tasks use signal_task.",
    "cancel_temporal_workflow": (
        "It may clean up first: look with describe_temporal_workflow. For tasks use cancel_task or cancel_workflow."
    ),
    "terminate_temporal_workflow": (
        "It cannot clean up: try cancel_temporal_workflow first. For tasks use cancel_task or cancel_workflow."
    ),
}
