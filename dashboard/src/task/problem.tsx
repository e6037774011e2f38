// Problem: what went wrong in an attempt, with the details for who opens them.
// It must not know whose attempt it was.

import type { TaskError } from "../described";
import { Value } from "../parts/value";

export function Problem({ error }: { error: TaskError }) {
  return (
    <div class="problem">
      <p>
        <strong>{error.type}</strong> {error.message}
      </p>
      {error.details !== null && error.details !== undefined && (
        <details>
          <summary>Details</summary>
          {typeof error.details === "string" ? (
            // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
            <pre class="raw" tabIndex={0}>
              {error.details}
            </pre>
          ) : (
            <Value value={error.details} label="Details" />
          )}
        </details>
      )}
    </div>
  );
}
