"""Pollers: how many workers, of all processes, ask Temporal for the tasks of one queue.
It must not know what the queue is for, nor start any.
"""

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError

from durable_tasks.ports import Queue
from durable_tasks.temporal.connection import Connection

_TYPES = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


async def pollers(connection: Connection, namespace: str, queue: str) -> Queue:
    """Raises TemporalUnavailable before the first connect."""
    service = connection.client(namespace).workflow_service
    workers = set()
    try:
        for kind in _TYPES:
            request = DescribeTaskQueueRequest(
                namespace=namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
            )
            workers |= {one.identity for one in (await connection.reach(service.describe_task_queue(request))).pollers}
    except (RPCError, TimeoutError):
        return Queue(namespace, queue, None)
    return Queue(namespace, queue, len(workers))
