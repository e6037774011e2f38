"""DurableStore: the tasks and workflows of this file as Temporal has them, for people who look at Temporal directly.
It must not decide anything: what changes a task goes through the organisation's verbs, and so through SQLite.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from temporalio.client import Client, WorkflowExecution, WorkflowHandle
from temporalio.service import RPCError

from durable_tasks.contracts import (
    ATTEMPT_QUERY,
    GROUP_WORKFLOWS,
    MEMO_FILE,
    PROGRESS_QUERY,
    STATUS_QUERY,
    TASK_WORKFLOW,
    CommandVerb,
    group_workflow_id,
    task_workflow_id,
)
from durable_tasks.errors import Conflict, InvalidInput, TemporalUnavailable
from durable_tasks.models import Claim, NewTask, Task, TaskFields, Workflow, WorkflowKind
from durable_tasks.temporal.engine import TemporalEngine, TemporalReport
from durable_tasks.temporal.executions import Executions
from durable_tasks.temporal.faults import Fault, fault_of

QUERIES = (STATUS_QUERY, PROGRESS_QUERY, ATTEMPT_QUERY)


class Verbs(Protocol):
    """What DurableStore needs of an organisation."""

    id: str

    async def create(self, title: str | None = None, **fields: Unpack[TaskFields]) -> Task: ...

    async def get(self, task_id: str) -> Task: ...

    async def cancel(self, task_id: str, *, reason: str | None = None) -> Task: ...

    async def next(self, *, agent_id: str) -> Claim | None: ...

    async def pipeline(self, name: str, steps: Sequence[NewTask], **options: Any) -> Workflow: ...

    async def fan_out(self, name: str, tasks: Sequence[NewTask], **options: Any) -> Workflow: ...

    async def dag(self, name: str, tasks: Sequence[NewTask], **options: Any) -> Workflow: ...


@dataclass(frozen=True, slots=True)
class DurableStatus:
    """One task on both sides. `temporal` is RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, or MISSING:
    not there, or not yet."""

    task: Task
    namespace: str
    workflow_id: str
    run_id: str | None
    temporal: str


class Host(Protocol):
    """What DurableStore needs of the DurableTasks it belongs to."""

    def org(self, org_id: str | None = None) -> Any:
        """The verbs of one organisation. Raises InvalidOrg."""
        ...


class DurableStore:
    """Get it from `tasks.durable`. `org` is an organisation's id; without it the setting `org` is meant."""

    def __init__(self, host: Host, engine: TemporalEngine) -> None:
        self._host = host
        self._engine = engine

    @property
    def connected(self) -> bool:
        """Whether Temporal answers and the default namespace exists, as far as known."""
        return self._engine.connected

    def client_for_org(self, org: str | None = None) -> Client:
        """Temporal's own client for the organisation's namespace. Raises TemporalUnavailable before it is connected."""
        return self._engine.client(self._engine.namespace_of(self._verbs(org).id))

    async def submit_task(
        self, title: str | None = None, *, org: str | None = None, **fields: Unpack[TaskFields]
    ) -> DurableStatus:
        """Create a task; see Org.create. SQLite has it when this returns, Temporal soon after, or when it is back:
        until then its status there is MISSING."""
        task = await self._verbs(org).create(title, **fields)
        try:
            return await self._status(task)
        except TemporalUnavailable:
            workflow_id = task_workflow_id(task.id, task.generation)
            return DurableStatus(task, self._engine.namespace_of(task.org_id), workflow_id, None, "MISSING")

    async def submit_workflow(
        self, kind: WorkflowKind, name: str, tasks: Sequence[NewTask], *, org: str | None = None, **options: Any
    ) -> Workflow:
        """Create a pipeline, fan_out or dag; see Org.pipeline and its kin for the options."""
        verbs = self._verbs(org)
        if kind not in GROUP_WORKFLOWS:
            raise InvalidInput(f"a workflow is {', '.join(GROUP_WORKFLOWS)}, not {kind!r}", kind=kind)
        if kind == "pipeline":
            return await verbs.pipeline(name, tasks, **options)
        return await (verbs.fan_out if kind == "fan_out" else verbs.dag)(name, tasks, **options)

    async def status(self, task_id: str, *, org: str | None = None) -> DurableStatus:
        """How the task stands on both sides. Raises NotFound, TemporalUnavailable."""
        return await self._status(await self._verbs(org).get(task_id))

    async def signal(self, task_id: str, verb: str, payload: dict[str, Any], *, org: str | None = None) -> None:
        """Send one of the signals that the task's Temporal workflow knows; see the how-to on people in the loop.
        Raises InvalidInput for another name, which Temporal would take and nobody hear."""
        if verb not in set(CommandVerb):
            raise InvalidInput(f"the signals are {', '.join(CommandVerb)}; not {verb!r}", verb=verb)
        handle = await self._handle(await self._verbs(org).get(task_id))
        await self._reach(handle.signal(verb, {**payload, "task_id": task_id}))

    async def query(self, task_id: str, query: str, *, org: str | None = None) -> Any:
        """Ask the task's Temporal workflow: `status`, `progress` or `attempt`. It answers as it last heard of the task;
        `get` says how the task stands. Raises InvalidInput for another name, TemporalUnavailable when no worker
        answers."""
        if query not in QUERIES:
            raise InvalidInput(f"the queries are {', '.join(QUERIES)}; not {query!r}", query=query)
        handle = await self._handle(await self._verbs(org).get(task_id))
        return await self._reach(handle.query(query))

    async def cancel(self, task_id: str, *, reason: str | None = None, org: str | None = None) -> Task:
        """Cancel the task, at once in SQLite; its Temporal workflow follows."""
        return await self._verbs(org).cancel(task_id, reason=reason)

    async def next(self, *, agent_id: str, org: str | None = None) -> Claim | None:
        """Claim the next manual task, atomically, in SQLite; see Org.next."""
        return await self._verbs(org).next(agent_id=agent_id)

    def list_tasks(self, *, org: str | None = None, query: str | None = None) -> AsyncIterator[WorkflowExecution]:
        """The Temporal workflows of this file's single tasks, newest first. `query`: one more condition in Temporal's
        list syntax. Visibility lags behind; `status` does not."""
        return self._listed([TASK_WORKFLOW], org, query)

    def list_workflows(self, *, org: str | None = None, query: str | None = None) -> AsyncIterator[WorkflowExecution]:
        """The same for pipelines, fan-outs and DAGs."""
        return self._listed(list(GROUP_WORKFLOWS.values()), org, query)

    async def executions(self, *, org: str | None = None) -> Executions:
        """The organisation's own Temporal workflows, to start, look at, signal and end by id. Raises Conflict when its
        namespace is another organisation's, TemporalUnavailable."""
        org_id = self._verbs(org).id
        namespace = self._engine.namespace_of(org_id)
        if await self._engine.owner(namespace) not in (None, org_id):
            raise Conflict(
                f"the namespace {namespace!r} of organisation {org_id!r} belongs to another organisation",
                org=org_id,
                namespace=namespace,
            )
        return Executions(self._engine.client(namespace), self._engine)

    async def doctor(self) -> TemporalReport:
        """How Temporal stands: server, namespaces, workers, what is parked and why."""
        return await self._engine.report()

    # ----- inside

    def _verbs(self, org: str | None) -> Verbs:
        verbs: Verbs = self._host.org(org)
        return verbs

    async def _listed(self, types: list[str], org: str | None, query: str | None) -> AsyncIterator[WorkflowExecution]:
        client = self.client_for_org(org)
        kinds = ", ".join(f"'{kind}'" for kind in types)
        wanted = f"WorkflowType IN ({kinds})" + (f" AND ({query})" if query else "")
        try:
            async for found in client.list_workflows(wanted):
                if await found.memo_value(MEMO_FILE, default=None) == self._engine.file_uuid:
                    yield found
        except RPCError as error:
            raise self._unavailable(error) from error

    async def _status(self, task: Task) -> DurableStatus:
        """Raises TemporalUnavailable."""
        handle = await self._handle(task)
        namespace = self._engine.namespace_of(task.org_id)
        try:
            seen = await self._engine.reach(handle.describe())
        except (RPCError, TimeoutError) as error:
            if fault_of(error) not in (Fault.MISSING, Fault.NAMESPACE):
                raise self._unavailable(error) from error
            return DurableStatus(task, namespace, handle.id, None, "MISSING")
        status = "MISSING" if seen.status is None else seen.status.name
        return DurableStatus(task, namespace, handle.id, seen.run_id, status)

    async def _handle(self, task: Task) -> WorkflowHandle[Any, Any]:
        """Of the Temporal workflow that drives the task: its group's when it is a handler's member of one."""
        client = self.client_for_org(task.org_id)
        if task.workflow_id is not None and task.mode == "auto":
            group = await self._host.org(task.org_id).get_workflow(task.workflow_id)
            return client.get_workflow_handle(group_workflow_id(group.id, group.generation))
        return client.get_workflow_handle(task_workflow_id(task.id, task.generation))

    async def _reach(self, call: Any) -> Any:
        try:
            return await self._engine.reach(call)
        except (RPCError, TimeoutError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> TemporalUnavailable:
        address = self._engine.address
        return TemporalUnavailable(f"Temporal at {address} does not do it: {error!r}", address=address)
