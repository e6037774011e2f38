// Sign-in: asks for a token when the server wants proof of who asks.
// It must not know what a token says.

import { useState } from "preact/hooks";
import { Button } from "../parts/button";
import { TextField } from "../parts/field";
import { Icon } from "../parts/icon";
import { rejection, signIn } from "../session";

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
      </form>
    </main>
  );
}
