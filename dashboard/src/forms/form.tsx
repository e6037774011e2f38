// Form: the controls that ask the questions of a JSON Schema, and what is wrong with the answers beside each.
// It must not know what is done with the answers.

import { type ComponentChildren, createContext } from "preact";
import { useContext, useId } from "preact/hooks";
import { Button } from "../parts/button";
import { Field } from "../parts/field";
import { withLinks } from "../parts/value";
import { begin, chosen, type Draft, escaped, isSilent, itemsOf, partsOf, typed } from "./answer";
import type { Option, Question, Variant } from "./question";

interface FormProps {
  question: Question;
  draft: Draft;
  /** What is wrong, by the pointer of the control. */
  errors: ReadonlyMap<string, string>;
  onDraft: (draft: Draft) => void;
}

const Errors = createContext<ReadonlyMap<string, string>>(new Map());

export function Form({ question, draft, errors, onDraft }: FormProps) {
  return (
    <Errors.Provider value={errors}>
      <Asked question={question} draft={draft} onDraft={onDraft} pointer="" required root />
    </Errors.Provider>
  );
}

interface AskedProps<Q extends Question = Question> {
  question: Q;
  draft: Draft;
  onDraft: (draft: Draft) => void;
  pointer: string;
  required: boolean;
  /** The whole form needs no frame of its own. */
  root?: boolean;
}

type Of<Kind extends Question["kind"]> = AskedProps<Extract<Question, { kind: Kind }>>;

function Asked(props: AskedProps): ComponentChildren {
  const { question } = props;
  switch (question.kind) {
    case "text":
      return <AskText {...props} question={question} />;
    case "number":
      return <AskNumber {...props} question={question} />;
    case "boolean":
      return <AskBoolean {...props} question={question} />;
    case "choice":
      return <AskChoice {...props} question={question} />;
    case "choices":
      return <AskChoices {...props} question={question} />;
    case "const":
      return <AskConst {...props} question={question} />;
    case "list":
      return <AskList {...props} question={question} />;
    case "object":
      return <AskObject {...props} question={question} />;
    case "variants":
      return <AskVariants {...props} question={question} />;
    case "json":
      return <AskJson {...props} question={question} />;
  }
}

// ----- what all have

const titleOf = (question: Question) => question.title || "Answer";
/** Whether it may be left without an answer; what has a default always has one. */
const mayBeOpen = (question: Question, required: boolean) =>
  question.nullable || (!required && question.initial === undefined);
const helpOf = (question: Question) => (question.help ? withLinks(question.help) : undefined);

function useError(pointer: string): string | undefined {
  return useContext(Errors).get(pointer);
}

/** What a question of one control says about itself. */
function useTold({ question, pointer, required }: AskedProps) {
  return {
    label: titleOf(question),
    help: helpOf(question),
    error: useError(pointer),
    optional: mayBeOpen(question, required),
  };
}

/** A question of several controls. */
function Group(
  props: AskedProps & { role?: "radiogroup" | "group"; plain?: boolean; children: ComponentChildren },
) {
  const { question, pointer, required, root, role, children } = props;
  const error = useError(pointer);
  const id = useId();
  const described = [question.help ? `${id}-help` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ");
  const head = !(root && question.kind === "object" && !question.title);
  return (
    <fieldset
      class={`${root || props.plain ? "asked" : "asked nested"}${error ? " wrong" : ""}`}
      role={role}
      aria-describedby={described || undefined}
      aria-invalid={error && role === "radiogroup" ? "true" : undefined}
      data-wrong={error ? "" : undefined}
    >
      {head && (
        <legend>
          {titleOf(question)}
          {mayBeOpen(question, required) && <span class="optional">optional</span>}
        </legend>
      )}
      {question.help && (
        <p class="help" id={`${id}-help`}>
          {helpOf(question)}
        </p>
      )}
      {children}
      {error && (
        <p class="wrong-text" id={`${id}-error`}>
          {error}
        </p>
      )}
    </fieldset>
  );
}

// ----- text and numbers

function AskText(props: Of<"text">) {
  const { question, draft, onDraft, required } = props;
  const told = useTold(props);
  const common = {
    value: typed(draft),
    required: required && !question.nullable,
    onInput: (event: { currentTarget: { value: string } }) => onDraft(event.currentTarget.value),
  };
  return (
    <Field {...told}>
      {(ties) =>
        question.look === "lines" ? (
          <textarea {...ties} {...common} rows={4} />
        ) : (
          <input {...ties} {...common} type={(question.look === "line" ? "text" : question.look) as "text"} />
        )
      }
    </Field>
  );
}

function AskNumber(props: Of<"number">) {
  const { question, draft, onDraft, required } = props;
  const told = useTold(props);
  return (
    <Field {...told} help={told.help ?? limitsOf(question)}>
      {(ties) => (
        <input
          {...ties}
          class="number"
          type="text"
          inputMode={question.whole ? "numeric" : "decimal"}
          autocomplete="off"
          required={required && !question.nullable}
          value={typed(draft)}
          onInput={(event) => onDraft(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

function limitsOf({ least, most, above, below }: Of<"number">["question"]): string | undefined {
  if (least !== null && most !== null) return `${least} to ${most}`;
  const limits = [
    least !== null && `at least ${least}`,
    above !== null && `more than ${above}`,
    most !== null && `at most ${most}`,
    below !== null && `less than ${below}`,
  ].filter((limit) => limit !== false);
  return limits.length > 0 ? sentence(limits.join(", ")) : undefined;
}

const sentence = (words: string) => `${words[0]?.toUpperCase()}${words.slice(1)}`;

// ----- choices

interface PickProps {
  name: string;
  option: Option;
  checked: boolean;
  several?: boolean;
  onPick: () => void;
}

function Pick({ name, option, checked, several, onPick }: PickProps) {
  return (
    <label class="pick">
      <input type={several ? "checkbox" : "radio"} name={name} checked={checked} onChange={onPick} />
      <span>
        {option.label}
        {option.help && <span class="help">{option.help}</span>}
      </span>
    </label>
  );
}

const YES_NO: readonly Option[] = [
  { value: true, label: "Yes", help: "" },
  { value: false, label: "No", help: "" },
];
const NEITHER: Option = { value: null, label: "No answer", help: "" };
const MANY = 6;
const areShort = (options: readonly Option[]) =>
  options.every(({ label, help }) => label.length <= 16 && !help);

function AskBoolean(props: Of<"boolean">) {
  const { question, draft, onDraft, required } = props;
  const name = useId();
  return (
    <Group {...props} role="radiogroup" plain>
      <div class="picks flow">
        {YES_NO.map((option) => (
          <Pick
            key={option.label}
            name={name}
            option={option}
            checked={draft === option.value}
            onPick={() => onDraft(option.value === true)}
          />
        ))}
        {mayBeOpen(question, required) && (
          <Pick
            name={name}
            option={NEITHER}
            checked={draft === undefined}
            onPick={() => onDraft(undefined)}
          />
        )}
      </div>
    </Group>
  );
}

function AskChoice(props: Of<"choice">) {
  const { question, draft, onDraft, required } = props;
  const optional = mayBeOpen(question, required);
  const name = useId();
  const told = useTold(props);
  if (question.options.length > MANY)
    return (
      <Field {...told}>
        {(ties) => (
          <select
            {...ties}
            value={typeof draft === "number" ? String(draft) : ""}
            onChange={(event) =>
              onDraft(event.currentTarget.value === "" ? undefined : Number(event.currentTarget.value))
            }
          >
            <option value="">{optional ? "No answer" : "Choose…"}</option>
            {question.options.map((option, at) => (
              <option key={at} value={at}>
                {option.label}
              </option>
            ))}
          </select>
        )}
      </Field>
    );
  return (
    <Group {...props} role="radiogroup" plain>
      <div class={areShort(question.options) ? "picks flow" : "picks"}>
        {question.options.map((option, at) => (
          <Pick key={at} name={name} option={option} checked={draft === at} onPick={() => onDraft(at)} />
        ))}
        {optional && (
          <Pick
            name={name}
            option={NEITHER}
            checked={draft === undefined}
            onPick={() => onDraft(undefined)}
          />
        )}
      </div>
    </Group>
  );
}

function AskChoices(props: Of<"choices">) {
  const { question, draft, onDraft } = props;
  const name = useId();
  const picked = itemsOf(draft);
  const toggle = (at: number) =>
    onDraft(picked.includes(at) ? picked.filter((one) => one !== at) : [...picked, at]);
  return (
    <Group {...props} role="group" plain>
      <div class={areShort(question.options) ? "picks flow" : "picks"}>
        {question.options.map((option, at) => (
          <Pick
            key={at}
            name={name}
            option={option}
            checked={picked.includes(at)}
            several
            onPick={() => toggle(at)}
          />
        ))}
      </div>
    </Group>
  );
}

/** What has one answer is asked only where somebody has to agree to it, or may leave it out. */
function AskConst(props: Of<"const">) {
  const { question, draft, onDraft, pointer, required } = props;
  const error = useError(pointer);
  const id = useId();
  if (isSilent(question, required)) return null;
  const label = question.title || String(question.value);
  return (
    <div class={error ? "field wrong" : "field"}>
      <label class="pick alone">
        <input
          type="checkbox"
          checked={draft === true}
          aria-invalid={error ? "true" : undefined}
          aria-describedby={error ? id : undefined}
          onChange={(event) => onDraft(event.currentTarget.checked || undefined)}
        />
        <span>
          {label}
          {question.help && <span class="help">{helpOf(question)}</span>}
        </span>
      </label>
      {error && (
        <p class="wrong-text" id={id}>
          {error}
        </p>
      )}
    </div>
  );
}

// ----- parts of parts

function AskList(props: Of<"list">) {
  const { question, draft, onDraft, pointer } = props;
  const items = itemsOf(draft);
  const full = question.most !== null && items.length >= question.most;
  return (
    <Group {...props} role="group">
      {items.map((item, at) => (
        <div key={at} class="item">
          <Asked
            question={{ ...question.item, title: `${question.item.title} ${at + 1}`.trim() }}
            draft={item}
            onDraft={(next) => onDraft(items.map((old, place) => (place === at ? next : old)))}
            pointer={`${pointer}/${at}`}
            required
          />
          <Button
            look="quiet"
            icon="close"
            label={`Remove ${at + 1}`}
            onPress={() => onDraft(items.filter((_, place) => place !== at))}
          />
        </div>
      ))}
      <div>
        <Button small icon="plus" disabled={full} onPress={() => onDraft([...items, begin(question.item)])}>
          Add
        </Button>
      </div>
    </Group>
  );
}

function AskObject(props: Of<"object">) {
  const { question, draft, onDraft, pointer, root } = props;
  const parts = partsOf(draft);
  const members = question.members.map(({ name, question: member, required }) => (
    <Asked
      key={name}
      question={member}
      draft={parts[name]}
      onDraft={(next) => onDraft({ ...parts, [name]: next })}
      pointer={`${pointer}/${escaped(name)}`}
      required={required}
    />
  ));
  return (
    <Group {...props} role={root ? undefined : "group"}>
      {members}
    </Group>
  );
}

function AskVariants(props: Of<"variants">) {
  const { question, draft, onDraft, pointer, required } = props;
  const { at, parts } = chosen(draft);
  const name = useId();
  const variant = at === null ? undefined : question.variants[at];
  const choose = (next: number | null) =>
    onDraft({
      at: next,
      parts: next === null || String(next) in parts ? parts : { ...parts, [next]: first(question, next) },
    });
  return (
    <Group {...props} role="radiogroup">
      <div class="picks flow">
        {question.variants.map(({ label }, place) => (
          <Pick
            key={place}
            name={name}
            option={{ value: place, label, help: "" }}
            checked={place === at}
            onPick={() => choose(place)}
          />
        ))}
        {mayBeOpen(question, required) && (
          <Pick name={name} option={NEITHER} checked={at === null} onPick={() => choose(null)} />
        )}
      </div>
      {variant && (
        <Asked
          key={at}
          question={{ ...variant.question, title: titleIn(variant) }}
          draft={parts[String(at)]}
          onDraft={(next) => onDraft({ at, parts: { ...parts, [String(at)]: next } })}
          pointer={pointer}
          required
          root={variant.question.kind === "object"}
        />
      )}
    </Group>
  );
}

/** The choice above says which object it is. */
const titleIn = ({ question, label }: Variant) => (question.kind === "object" ? "" : question.title || label);

const first = (question: Of<"variants">["question"], at: number): Draft => {
  const variant = question.variants[at];
  return variant ? begin(variant.question) : undefined;
};

function AskJson(props: Of<"json">) {
  const { draft, onDraft } = props;
  const told = useTold(props);
  return (
    <Field {...told} help={told.help ?? "As JSON"}>
      {(ties) => (
        <textarea
          {...ties}
          class="mono"
          rows={4}
          spellcheck={false}
          value={typed(draft)}
          onInput={(event) => onDraft(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

/** Puts the cursor where the first wrong answer is. */
export function focusFirstWrong(within: HTMLElement | null): void {
  const wrong = within?.querySelector<HTMLElement>("[aria-invalid='true'], [data-wrong]");
  const control = wrong?.matches("input,textarea,select")
    ? wrong
    : wrong?.querySelector<HTMLElement>("input,textarea,select,button");
  control?.focus();
}
