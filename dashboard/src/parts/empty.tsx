// Empty: what a page says when there is nothing to show: not yet, not any more, or not at all.
// It must not know why beyond what it is told.

import type { ComponentChildren } from "preact";
import { Refused, said } from "../api";
import { Button } from "./button";
import { Icon, type IconName } from "./icon";

interface EmptyProps {
  icon: IconName;
  title: string;
  /** Whether it stands for a whole page. */
  page?: boolean;
  children?: ComponentChildren;
}

export function Empty({ icon, title, page, children }: EmptyProps) {
  const Title = page ? "h1" : "p";
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} size={20} />
      </span>
      <Title class="empty-title">{title}</Title>
      {children && <div class="empty-text">{children}</div>}
    </div>
  );
}

interface TroubleProps {
  error: unknown;
  /** "this task". */
  what: string;
  page?: boolean;
  onRetry?: () => void;
}

/** Something could not be read. */
export function Trouble({ error, what, page, onRetry }: TroubleProps) {
  if (error instanceof Refused && error.status === 404)
    return (
      <Empty icon="search" title="Not found" page={page}>
        <p>
          There is no such thing in your organisation: {what} may have been removed, or the address is wrong.
        </p>
      </Empty>
    );
  return (
    <Empty icon="alert" title={`Could not read ${what}`} page={page}>
      <p>{said(error)}</p>
      {onRetry && <Button onPress={onRetry}>Try again</Button>}
    </Empty>
  );
}

/** A quiet stand-in of `lines` lines while something is read; it shows late, so that fast answers do not flicker. */
export function Loading({ lines = 3 }: { lines?: number }) {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">Loading</span>
      {Array.from({ length: lines }, (_, at) => (
        <span key={at} class="bone" />
      ))}
    </div>
  );
}
