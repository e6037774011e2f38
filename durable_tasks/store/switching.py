"""Switching: starting tasks and groups again as their next generation, with the same engine or the other one.

It must not know why, nor send anything: errands go to the outbox.
"""

import logging

from durable_tasks.lifecycle import TERMINAL, Loss, is_terminal
from durable_tasks.models import Engine
from durable_tasks.ports import DeadLetter, OutboxKind, Submission
from durable_tasks.store import outbox, submissions
from durable_tasks.store.endings import end_lost
from durable_tasks.store.events import append, task_event
from durable_tasks.store.moves import announce, by_seq, get, replaced, save, touch
from durable_tasks.store.rows import TASK, WORKFLOW, Row, task_row, workflow_row
from durable_tasks.store.transaction import Transaction

log = logging.getLogger("durable_tasks.store")

_ENDED = ", ".join(f"'{state.value}'" for state in sorted(TERMINAL))


# ----- one submission


def resubmit(tx: Transaction, submission: Submission) -> bool:
    """Start again as the next generation, only if the row is as the reconciler saw it. Attempts that external
    workers had are lost: the Temporal workflow that would have recorded them is gone."""
    row = submissions.current(tx, submission)
    if row is None or is_terminal(row["state"]):
        return False
    submissions.close(tx, submission.ref)
    outbox.remove_all(tx, row["id"], row["generation"])
    if "placement" in row:
        _lose_outside(tx, row)
        if not is_terminal(row["state"]):
            _next_generation(tx, row, "task.resubmitted")
            submissions.submit_task(tx, row)
    else:
        _next_group_generation(tx, row, "workflow.resubmitted")
        for member in _outside_members(tx, row["id"]):
            _lose_outside(tx, member)
    return True


def _lose_outside(tx: Transaction, row: Row) -> None:
    if submissions.is_held_outside(row) and row["stop_by"] is None:
        end_lost(tx, row, "its Temporal workflow is gone", Loss.BLAMELESS)


def _next_generation(tx: Transaction, row: Row, kind: str, **facts: str) -> None:
    touch(tx, row, generation=row["generation"] + 1)
    task_event(tx, row, kind, facts)


def _next_group_generation(tx: Transaction, group: Row, kind: str) -> None:
    """The group and its Temporal workflow go on as the next generation; its members stay as they are."""
    group["generation"] += 1
    tx.run("UPDATE dt_workflows SET generation = ? WHERE id = ?", (group["generation"], group["id"]))
    append(tx, group["org_id"], kind, f'{{"state":"{group["state"]}"}}', workflow_id=group["id"])
    submissions.submit_group(tx, group)


def _outside_members(tx: Transaction, workflow_id: str) -> list[Row]:
    sql = (
        f"SELECT {TASK} FROM dt_tasks INDEXED BY dt_tasks_remote_members WHERE placement = 'external'"
        " AND token IS NOT NULL AND workflow_id = ?"
    )
    return [task_row(values) for values in tx.all(sql, (workflow_id,))]


def redrive(tx: Transaction, letter: DeadLetter) -> None:
    """Send a dead letter again. A refused start has failed its task or group: that is to be retried instead."""
    if letter.kind is OutboxKind.START:
        outbox.drop(tx, letter)
    else:
        outbox.revive(tx, letter)


# ----- the engine of the file


def settle_engine(tx: Transaction, wanted: Engine | None) -> Engine:
    """Record the engine of the file and hand it the open tasks of the other one."""
    found = tx.one("SELECT value FROM dt_meta WHERE key = 'engine'")
    if wanted is None:
        return Engine.LOCAL if found is None else Engine(found[0])
    tx.run("INSERT OR REPLACE INTO dt_meta VALUES ('engine', ?)", (wanted.value,))
    tx.engine = wanted.value
    if found is not None and found[0] != wanted.value:
        taken = _take_over(tx, wanted)
        log.warning("durable mode was switched", extra={"engine": wanted.value, "tasks": taken})
    return wanted


def _take_over(tx: Transaction, engine: Engine) -> int:
    """Open tasks of the other engine go on with this one. What Temporal still runs of them is terminated when it is
    next reachable; commands of older generations are refused anyway."""
    _take_over_groups(tx, engine)
    sql = f"SELECT seq FROM dt_tasks WHERE state NOT IN ({_ENDED}) AND engine <> ?"
    seqs = tx.all(sql, (engine.value,))
    for (seq,) in seqs:
        _take_over_task(tx, by_seq(tx, seq), engine)
    return len(seqs)


def _take_over_task(tx: Transaction, row: Row, engine: Engine) -> None:
    if row["engine"] == Engine.TEMPORAL.value:
        _give_up(tx, row)
        if submissions.is_held_outside(row) and row["stop_by"] is None:
            # Nobody will record its end. It may still run: no other begins until its time is over.
            touch(tx, row, lease_expires_at=tx.now + tx.rules.switch_grace)
    placement = replaced(tx, row, engine.value)
    row["engine"] = engine.value
    lane = submissions.lane_of(tx, row)
    save(tx, row, engine=engine.value, placement=placement, generation=row["generation"] + 1, lane=lane)
    task_event(tx, row, "task.switched", {"engine": engine.value})
    if engine is Engine.TEMPORAL and row["state"] not in ("blocked", "scheduled") and not submissions.is_inner(row):
        submissions.submit_task(tx, row)
    elif row["state"] == "pending":
        announce(tx, row)


def _take_over_groups(tx: Transaction, engine: Engine) -> None:
    rows = tx.all(f"SELECT {WORKFLOW} FROM dt_workflows WHERE state NOT IN ({_ENDED})")
    for group in map(workflow_row, rows):
        if engine is Engine.TEMPORAL:
            _next_group_generation(tx, group, "workflow.switched")
        elif _give_up(tx, group):
            tx.run("UPDATE dt_workflows SET generation = generation + 1 WHERE id = ?", (group["id"],))
            append(tx, group["org_id"], "workflow.switched", f'{{"state":"{group["state"]}"}}', workflow_id=group["id"])


def _give_up(tx: Transaction, row: Row) -> bool:
    """Have the Temporal workflow of this generation terminated when there is one: a start that was not acknowledged
    may have arrived all the same. False when the generation was never submitted."""
    found = tx.one(
        "SELECT state FROM dt_submissions WHERE subject_id = ? AND generation = ?", (row["id"], row["generation"])
    )
    if found is None:
        return False
    outbox.remove_all(tx, row["id"], row["generation"])
    outbox.queue(tx, row, OutboxKind.TERMINATE)
    return True


# ----- a file that is not what it was


def adopt(tx: Transaction, *, replaces: bool) -> int:
    """Start everything open again as its next generation. `replaces`: the file stands for the one it was copied
    from, so what that one handed over is terminated; else it is left to the original."""
    count = 0
    for org_id, task_id in tx.all(
        f"SELECT org_id, id FROM dt_tasks WHERE engine = 'temporal' AND state NOT IN ({_ENDED})"
    ):
        row = get(tx, org_id, task_id)
        _forsake(tx, row, replaces)
        _lose_outside(tx, row)
        if is_terminal(row["state"]):
            continue
        _next_generation(tx, row, "task.adopted")
        if row["state"] not in ("blocked", "scheduled") and not submissions.is_inner(row):
            submissions.submit_task(tx, row)
        count += 1
    for group in map(workflow_row, tx.all(f"SELECT {WORKFLOW} FROM dt_workflows WHERE state NOT IN ({_ENDED})")):
        if _forsake(tx, group, replaces):
            _next_group_generation(tx, group, "workflow.adopted")
    if not replaces:
        # What has ended is not started any more: the cancel that goes with its start may be the original's.
        tx.run(
            "DELETE FROM dt_outbox WHERE kind <> 'start' OR EXISTS (SELECT 1 FROM dt_submissions AS s WHERE"
            " s.subject_id = dt_outbox.subject_id AND s.generation = dt_outbox.generation AND s.outcome IS NOT NULL)"
        )
        tx.run("UPDATE dt_submissions SET state = 'closed' WHERE state = 'open' OR outcome IS NOT NULL")
    return count


def _forsake(tx: Transaction, row: Row, replaces: bool) -> bool:
    if replaces:
        return _give_up(tx, row)
    submitted = tx.run(
        "UPDATE dt_submissions SET state = 'closed', updated_at = ? WHERE subject_id = ? AND generation = ?",
        (tx.now, row["id"], row["generation"]),
    )
    outbox.remove_all(tx, row["id"], row["generation"])
    return submitted.rowcount > 0
