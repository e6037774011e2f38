// Memo: a component that is drawn again only when one of its properties is another.
// It must not know what it draws.

import { Component, type ComponentChild, type FunctionComponent, h } from "preact";

/** `names`: the properties that count; without them all do. */
export function memo<P extends object>(
  draw: FunctionComponent<P>,
  names?: readonly (keyof P)[],
): FunctionComponent<P> {
  class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const counted = names ?? (Object.keys({ ...this.props, ...next }) as (keyof P)[]);
      return counted.some((name) => !Object.is((this.props as P)[name], (next as P)[name]));
    }

    override render(): ComponentChild {
      return h(draw, this.props as P);
    }
  }
  return Memo as unknown as FunctionComponent<P>;
}
