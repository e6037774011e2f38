"""The activities of the group workflows: each carries one question to the TaskBridge and its answer back.
They must not know SQL, the executor or a Temporal client; they decide nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity

from durable_tasks.activities.refusals import answered
from durable_tasks.contracts import (
    BEGIN_MEMBERS,
    CANCEL_GROUP,
    READ_GROUP,
    RUN_GROUP,
    Batch,
    GroupRef,
    GroupStatus,
    MembersRequest,
)
from durable_tasks.ports import TaskBridge


class GroupActivities:
    """Every answer is SQLite's, through the bridge of the process that owns the file."""

    def __init__(self, bridge: TaskBridge) -> None:
        self._bridge = bridge

    @property
    def all(self) -> list[Callable[..., Awaitable[Any]]]:
        return [self.run_group, self.read_group, self.cancel_group, self.begin_members]

    @activity.defn(name=RUN_GROUP)
    async def run_group(self, ref: GroupRef) -> GroupStatus:
        info = activity.info()
        return await answered(self._bridge.run_group(ref, namespace=info.namespace, workflow_id=info.workflow_id or ""))

    @activity.defn(name=READ_GROUP)
    async def read_group(self, ref: GroupRef) -> GroupStatus:
        info = activity.info()
        return await answered(
            self._bridge.read_group(ref, namespace=info.namespace, workflow_id=info.workflow_id or "")
        )

    @activity.defn(name=CANCEL_GROUP)
    async def cancel_group(self, ref: GroupRef, reason: str) -> GroupStatus:
        info = activity.info()
        cancelling = self._bridge.cancel_group(
            ref, namespace=info.namespace, workflow_id=info.workflow_id or "", reason=reason
        )
        return await answered(cancelling)

    @activity.defn(name=BEGIN_MEMBERS)
    async def begin_members(self, request: MembersRequest) -> Batch:
        info = activity.info()
        return await answered(
            self._bridge.begin_members(request, namespace=info.namespace, workflow_id=info.workflow_id or "")
        )
