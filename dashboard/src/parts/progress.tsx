// Progress: how far something has come, as a bar, a number and the words of whoever works on it.
// It must not know what is worked on.

export function Progress({ value, message }: { value: number; message: string | null }) {
  return (
    <p class="progress">
      <progress value={value} max={100} aria-label="Progress" />
      {Math.round(value)} %{message && <span>{message}</span>}
    </p>
  );
}
