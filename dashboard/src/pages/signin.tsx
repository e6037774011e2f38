// Sign-in: asks for a token when the server wants proof of who asks, and says so to whom it lets see nothing.
// It must not know what a token says.

import { useState } from "preact/hooks";
import { Button } from "../parts/button";
import { Empty } from "../parts/empty";
import { TextField } from "../parts/field";
import { Icon } from "../parts/icon";
import { begin, hasToken, rejection, signIn, signOut } from "../session";

export function SignIn() {
  const [token, setToken] = useState("");
  const [missing, setMissing] = useState(false);
  return (
    <main class="door">
      <form
        class="signin"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setMissing(!token.trim());
          if (token.trim()) void signIn(token);
        }}
      >
        <span class="brand-mark" aria-hidden="true">
          <Icon name="check" size={18} />
        </span>
        <h1>Sign in</h1>
        <p class="signin-text">
          With an API token, or one that your organisation issues. It is kept in this tab only.
        </p>
        <TextField
          label="Token"
          secret
          value={token}
          autofocus
          spellcheck={false}
          error={missing ? "A token is needed." : rejection.value}
          onText={setToken}
        />
        <Button look="primary" type="submit">
          Sign in
        </Button>
        <p class="help">
          Tokens are made on the server: <code>durable-tasks token create</code>
        </p>
        <p class="help">
          Where this belongs to another application, sign in there and{" "}
          <Button look="quiet" small onPress={begin}>
            try again
          </Button>
        </p>
      </form>
    </main>
  );
}

/** For somebody who is known and has no right to anything here. */
export function Barred() {
  return (
    <main class="door">
      <Empty icon="lock" title="There is nothing here that you may see" page>
        <p>
          You are signed in, but without a role in this organisation's tasks. Ask whoever gives out the roles:
          viewer, agent, operator or admin.
        </p>
        <p class="faint">The server said: {rejection.value}</p>
        <Button look="primary" onPress={begin}>
          Try again
        </Button>{" "}
        {hasToken() ? (
          <Button onPress={signOut}>Sign out</Button>
        ) : (
          <Button onPress={signOut}>Use a token</Button>
        )}
      </Empty>
    </main>
  );
}
