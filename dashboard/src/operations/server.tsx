// Server: the processes of the file, what they handle, and the file itself.
// It must not know whose tasks they run.

import type { Answer } from "../api";
import { Fact } from "./fact";

type Diagnosis = Answer<"diagnose_org">;

export function ServerPanel({ diagnosis }: { diagnosis: Diagnosis }) {
  const { workers, sqlite, warnings, displaced } = diagnosis;
  return (
    <section class="panel" aria-labelledby="server-title">
      <header class="panel-head">
        <h2 id="server-title">Processes and file</h2>
      </header>
      <dl class="facts">
        <Fact name="Processes that run handlers" good={workers.processes > 0}>
          {workers.processes.toLocaleString()}
        </Fact>
        <Fact name="They handle" good={workers.processes > 0}>
          {handled(workers)}
        </Fact>
        <Fact name="Leader" good={workers.led}>
          {workers.led ? "one of them leads" : "none leads now"}
        </Fact>
        <Fact name="SQLite" good={!displaced}>
          {sqlite}
          {displaced && ", a copy or restored"}
        </Fact>
      </dl>
      {warnings.map((warning) => (
        <p key={warning} class="notice panel-notice">
          {warning}
        </p>
      ))}
    </section>
  );
}

function handled({ capabilities, without_capability }: Diagnosis["workers"]): string {
  const all = [...capabilities, ...(without_capability ? ["tasks without a capability"] : [])];
  return all.length ? all.join(", ") : "nothing";
}
