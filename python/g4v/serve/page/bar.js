// The bar above the composer: what went wrong, and what can be done about it.

import { announce, byId } from "./dom.js";

const TRIES = 3; // after which a busy server is not asked again unbidden

let timer = 0;

/** Shows a text and, where there is a label, a button. bad: whether it is a fault. */
export function showBar(text, label = "", action = () => {}, bad = false) {
  hideBar();
  byId("bar").classList.toggle("bad", bad);
  byId("bar").hidden = false;
  byId("bar-text").textContent = text;
  if (bad) byId("alert").textContent = text;
  else announce(text);
  const button = byId("bar-action");
  button.hidden = !label;
  button.textContent = label;
  button.onclick = () => close(action);
}

export function hideBar() {
  clearInterval(timer);
  byId("bar").hidden = true;
  byId("alert").textContent = "";
}

function close(action = () => {}) {
  hideBar();
  byId("text").focus(); // where the button was, nothing has the focus
  action();
}

byId("bar-close").addEventListener("click", () => close());

/**
 * Shows a fault. retry, startNew: what its button may do. tries: how often it was tried already; a busy server is asked
 * again by itself when the time has come that it named.
 */
export function showFault(fault, { retry, startNew, tries = TRIES }) {
  const [text, label] = wording(fault);
  showBar(text, label, label === "New chat" ? startNew : retry, true);
  if (fault.status !== 429 || !fault.seconds || tries >= TRIES) return;
  const button = byId("bar-action");
  const until = performance.now() + 1000 * fault.seconds;
  const count = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.textContent = `Try again (${left} s)`;
    if (left > 0) return;
    hideBar();
    retry();
  };
  count();
  timer = setInterval(count, 250);
}

function wording(fault) {
  if (fault.status === 401) return ["This server needs a key.", "Try again"];
  if (fault.status === 429) return ["The server is busy.", "Try again"];
  if (fault.code === "too_large") return ["This clip is too large for the server.", ""];
  if (fault.code === "context_length_exceeded")
    return ["This chat is too long for the assistant.", "New chat"];
  if (fault.code === "not_found")
    return ["The server no longer keeps a clip or video of this chat.", "New chat"];
  const text = fault.message.replace(/^messages\[\d+\](\.content)?(\[\d+\])?: /, "");
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return [sentence, fault.temporary ? "Try again" : ""];
}
