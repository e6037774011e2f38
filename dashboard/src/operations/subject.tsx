// Subject: what a letter or a difference is of, a task or a workflow: their ids do not tell which.
// It must not know what happened to it.

import { call, Refused } from "../api";
import { tellError } from "../parts/toasts";
import { go, href } from "../router";

export function Subject({ id }: { id: string }) {
  const open = async (event: Event) => {
    event.preventDefault();
    try {
      await call("wait_workflow", { path: { workflow_id: id }, query: { timeout: 0 } });
      go(href("workflows", id));
    } catch (error) {
      if (error instanceof Refused && error.status === 404) go(href("tasks", id));
      else tellError(error);
    }
  };
  return (
    <a class="mono" href={href("tasks", id)} onClick={open}>
      {id}
    </a>
  );
}
