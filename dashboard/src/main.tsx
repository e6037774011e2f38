// Main: starts the dashboard in its page.
// It must not know what the dashboard shows.

import { render } from "preact";
import { App } from "./app";
import { listen } from "./keys";
import { follow } from "./router";
import { apply } from "./scheme";
import { begin } from "./session";
import "./style/main.css";
import { startClock } from "./time";

apply();
follow();
listen();
startClock();
void begin();
const root = document.getElementById("app");
if (root) render(<App />, root);
