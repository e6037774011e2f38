// App: the shell around every page: who is signed in, where one can go, and whether what is seen is live.
// It must not know what the pages do.

import { useEffect, useState } from "preact/hooks";
import { areLetters, listed, switchLetters, useKeys } from "./keys";
import { forget } from "./list/known";
import { connected, start, stop } from "./live";
import { BoardPage } from "./pages/board";
import { InboxPage } from "./pages/inbox";
import { OperationsPage } from "./pages/operations";
import { Barred, SignIn } from "./pages/signin";
import { TaskPage } from "./pages/task";
import { TasksPage } from "./pages/tasks";
import { WorkflowPage } from "./pages/workflow";
import { WorkflowsPage } from "./pages/workflows";
import { Button } from "./parts/button";
import { Dialog } from "./parts/dialog";
import { Empty } from "./parts/empty";
import { Icon, type IconName } from "./parts/icon";
import { Person } from "./parts/person";
import { Toasts } from "./parts/toasts";
import { go, href, type PageName, route } from "./router";
import { nextScheme, scheme } from "./scheme";
import { hasToken, me, signOut, standing } from "./session";
import { count, more, start as startWaiting } from "./waiting";

const PLACES: readonly { page: PageName; title: string; key: string }[] = [
  { page: "inbox", title: "Inbox", key: "1" },
  { page: "tasks", title: "Tasks", key: "2" },
  { page: "board", title: "Board", key: "3" },
  { page: "workflows", title: "Workflows", key: "4" },
  { page: "operations", title: "Operations", key: "5" },
];

export function App() {
  const inside = standing.value === "in";
  useEffect(() => {
    if (!inside) return;
    start();
    const stopWaiting = startWaiting();
    return () => {
      stopWaiting();
      stop();
      forget();
    };
  }, [inside]);
  return (
    <>
      {inside ? <Shell /> : <Door />}
      <Toasts />
    </>
  );
}

function Door() {
  if (standing.value === "out") return <SignIn />;
  if (standing.value === "barred") return <Barred />;
  return (
    <main class="door">
      {standing.value === "away" && (
        <Empty icon="operations" title="The server does not answer" page>
          <p>It is asked again and again; this page goes on by itself.</p>
        </Empty>
      )}
    </main>
  );
}

function Shell() {
  const [help, setHelp] = useState(false);
  useKeys(
    [
      { key: "?", does: "Show the keys", act: () => setHelp(true) },
      ...PLACES.map(({ page, title, key }) => ({ key, does: `Go to ${title}`, act: () => go(href(page)) })),
    ],
    { everywhere: true },
  );
  const { page, id } = route.value;
  // Another page is read from its top.
  useEffect(() => document.getElementById("main")?.scrollTo(0, 0), [page, id]);
  const title = PLACES.find((place) => place.page === page)?.title;
  useEffect(() => {
    document.title = title ? `${title} · Durable tasks` : "Durable tasks";
  }, [title]);
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the page
      </button>
      <Navigation onHelp={() => setHelp(true)} />
      <main id="main" tabIndex={-1}>
        <Page />
      </main>
      {help && <KeysDialog onClose={() => setHelp(false)} />}
    </div>
  );
}

function Page() {
  const { page, id } = route.value;
  if (page === "inbox") return <InboxPage id={id} />;
  if (page === "tasks") return id ? <TaskPage key={id} id={id} /> : <TasksPage />;
  if (page === "board") return <BoardPage />;
  if (page === "workflows") return id ? <WorkflowPage key={id} id={id} /> : <WorkflowsPage />;
  if (page === "operations") return <OperationsPage />;
  return (
    <Empty icon="search" title="No such page" page>
      <p>
        <a href={href("inbox")}>Go to the inbox</a>
      </p>
    </Empty>
  );
}

function Navigation({ onHelp }: { onHelp: () => void }) {
  return (
    <header class="side">
      <div class="brand">
        <span class="brand-mark" aria-hidden="true">
          <Icon name="check" size={14} />
        </span>
        <span class="brand-name">{me.value?.org ?? "Durable tasks"}</span>
      </div>
      <nav aria-label="Pages">
        <ul>
          {PLACES.map(({ page, title }) => (
            <li key={page}>
              <a href={href(page)} aria-current={route.value.page === page ? "page" : undefined}>
                <Icon name={page as IconName} />
                <span>{title}</span>
                {page === "inbox" && <Count />}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div class="side-end">
        <Live />
        <div class="account">{me.value && <Person name={me.value.subject} own />}</div>
        <div class="side-tools">
          <SchemeButton />
          <span class="keyboard-only">
            <Button look="quiet" icon="keyboard" label="Keys" onPress={onHelp} />
          </span>
          {hasToken() && <Button look="quiet" icon="leave" label="Sign out" onPress={signOut} />}
        </div>
      </div>
    </header>
  );
}

function Count() {
  if (!count.value) return null;
  return (
    <span class="count">
      {count.value}
      {more.value && "+"}
      <span class="visually-hidden"> waiting</span>
    </span>
  );
}

function Live() {
  return (
    <p class={connected.value ? "live on" : "live"} role="status">
      <span class="live-dot" aria-hidden="true" />
      <span>{connected.value ? "Live" : "Reconnecting…"}</span>
    </p>
  );
}

function SchemeButton() {
  const icons = { auto: "auto", light: "sun", dark: "moon" } as const;
  const names = { auto: "as the system", light: "light", dark: "dark" } as const;
  return (
    <Button
      look="quiet"
      icon={icons[scheme.value]}
      label={`Colours: ${names[scheme.value]}`}
      onPress={nextScheme}
    />
  );
}

function KeysDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {[...listed(), { key: "Esc", does: "Close, or leave a field" }].map(({ key, does }) => (
          <div key={key + does}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <label class="pick alone">
        <input type="checkbox" checked={areLetters.value} onChange={switchLetters} />
        <span>
          Keys of one letter, digit or sign
          <span class="help">Without them nothing happens by mistake when a program types for you.</span>
        </span>
      </label>
    </Dialog>
  );
}
