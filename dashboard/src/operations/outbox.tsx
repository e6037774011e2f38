// Outbox: what Temporal is still to be told, and what it refuses for ever, which can be sent again.
// It must not know how it is sent.

import { type Answer, call } from "../api";
import { Button } from "../parts/button";
import { Ago } from "../parts/time";
import { attempt } from "../parts/toasts";
import { Subject } from "./subject";

type Diagnosis = Answer<"diagnose_org">;
type Letter = Diagnosis["dead_letters"][number];

interface OutboxProps {
  outbox: Diagnosis["outbox"];
  letters: readonly Letter[];
  onRedriven: () => void;
}

export function OutboxPanel({ outbox, letters, onRedriven }: OutboxProps) {
  const { waiting, oldest_at, dead_letters, error } = outbox;
  return (
    <section class="panel" aria-labelledby="outbox-title">
      <header class="panel-head">
        <h2 id="outbox-title">Outbox</h2>
        <span class="faint panel-note">
          {waiting === 0 ? "Temporal has been told everything" : `${waiting.toLocaleString()} to be sent`}
          {oldest_at && (
            <>
              , the oldest <Ago at={oldest_at} />
            </>
          )}
        </span>
      </header>
      {error && <p class="notice bad panel-notice">{error}</p>}
      {letters.length > 0 && <Letters letters={letters} onRedriven={onRedriven} />}
      {letters.length < dead_letters && (
        <p class="panel-foot faint">
          The oldest {letters.length} of {dead_letters.toLocaleString()} dead letters.
        </p>
      )}
      {dead_letters === 0 && <p class="panel-empty faint">No dead letters.</p>}
    </section>
  );
}

function Letters({ letters, onRedriven }: { letters: readonly Letter[]; onRedriven: () => void }) {
  const redrive = async (id: string) => {
    await attempt(() => call("redrive_dead_letter", { path: { letter_id: id } }), "It is sent again");
    onRedriven();
  };
  return (
    <div class="table-frame">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Dead letter</th>
            <th scope="col">Of</th>
            <th scope="col">Refused</th>
            <th scope="col">Why</th>
            <th scope="col">
              <span class="visually-hidden">Action</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {letters.map((letter) => (
            <tr key={letter.id}>
              <th scope="row">{letter.kind}</th>
              <td>
                <Subject id={letter.subject_id} />
              </td>
              <td class="nowrap">
                <Ago at={letter.dead_at} />
              </td>
              <td class="cell-error">{letter.error}</td>
              <td class="right">
                <Button small icon="again" onPress={() => redrive(letter.id)}>
                  Redrive
                </Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
