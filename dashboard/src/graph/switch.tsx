// Switch: one of a few ways to see the same thing.
// It must not know what is seen.

import { Button } from "../parts/button";

interface SwitchProps<V extends string> {
  label: string;
  ways: readonly { value: V; text: string }[];
  value: V;
  onChoose: (value: V) => void;
}

export function Switch<V extends string>({ label, ways, value, onChoose }: SwitchProps<V>) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset's legend would be drawn
    <div class="switch" role="group" aria-label={label}>
      {ways.map((way) => (
        <Button
          key={way.value}
          small
          look="quiet"
          pressed={way.value === value}
          onPress={() => onChoose(way.value)}
        >
          {way.text}
        </Button>
      ))}
    </div>
  );
}
