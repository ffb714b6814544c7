// The two dialogs: settings, and the key.

import { byId } from "./dom.js";
import { loadSettings, saveSettings } from "./talk.js";

const NUMBERS = {
  "s-temperature": "temperature",
  "s-max-tokens": "max_tokens",
  "s-steps": "num_inference_steps",
  "s-seed": "seed",
};

/** The settings' button and dialog. */
export function setUpSettings() {
  const dialog = byId("settings");
  byId("open-settings").addEventListener("click", () => {
    fill(loadSettings());
    dialog.showModal();
  });
  byId("s-reset").addEventListener("click", () => fill({ videos: true }));
  byId("s-cancel").addEventListener("click", () => dialog.close());
  // Not the dialog's "close": that comes in a task of its own, and what is sent before it would have old settings.
  dialog.querySelector("form").addEventListener("submit", () => saveSettings(filled()));
  closeOutside(dialog);
}

function fill(settings) {
  byId("s-videos").checked = settings.videos;
  for (const [id, name] of Object.entries(NUMBERS)) byId(id).value = settings[name] ?? "";
}

function filled() {
  const settings = { videos: byId("s-videos").checked };
  for (const [id, name] of Object.entries(NUMBERS)) {
    const value = byId(id).valueAsNumber;
    if (!Number.isNaN(value)) settings[name] = value;
  }
  return settings;
}

/** Asks for the key; gives null where there is none. wrong: whether the last one was refused. */
export function askForKey(wrong) {
  const dialog = byId("key");
  const input = byId("key-input");
  input.value = dialog.returnValue = "";
  byId("key-title").textContent = wrong ? "The server does not know this key" : "This server needs a key";
  byId("key-cancel").onclick = () => dialog.close();
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const closed = () => resolve(dialog.returnValue === "save" ? input.value.trim() : null);
    dialog.addEventListener("close", closed, { once: true });
  });
}

/** A click beside a dialog closes it, as people expect. */
function closeOutside(dialog) {
  dialog.addEventListener("pointerdown", (event) => event.target === dialog && dialog.close());
}
