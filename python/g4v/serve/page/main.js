// The page: a chat with the server that it came from.

import { answer, Fault, modelName, onKeyNeeded } from "./api.js";
import { hideBar, showBar, showFault } from "./bar.js";
import { Composer } from "./composer.js";
import { askForKey, setUpSettings } from "./dialogs.js";
import { announce, byId, make } from "./dom.js";
import { onFiles } from "./files.js";
import { ofSession } from "./media.js";
import {
  add,
  loadSettings,
  loadTalk,
  newTalk,
  newTurn,
  noAnswer,
  onOtherTab,
  requestOf,
  saveTalk,
  settle,
} from "./talk.js";
import { TurnView } from "./turn.js";

const SAVE_MS = 500;
const IDEAS = ["What can you do?", "Show me a red circle moving left", "What moves in this clip?"];

let talk = loadTalk();
let views = [];
let running = null; // AbortController of the answer that comes
let edited = null; // the turn that the composer changes

const composer = new Composer({
  send: (text, media) => {
    delete media?.fresh;
    if (edited) talk.turns.splice(talk.turns.indexOf(edited), Infinity);
    edited = null;
    talk.turns.push(newTurn(text, media));
    show();
    stick();
    ask();
  },
  stop: () => running?.abort(),
  edited: () => (edited = null),
  fault: (fault, retry) => showFault(fault, { retry, startNew }),
  session: () => talk.id,
});

/** Has the last question answered. tries: how often a busy server was asked already. */
async function ask(tries = 0) {
  const turn = talk.turns.at(-1);
  const control = (running = new AbortController());
  hideBar();
  Object.assign(turn, noAnswer());
  saveTalk(talk);
  show();
  composer.setBusy(true);
  let state = "done";
  try {
    for await (const piece of answer(requestOf(talk, loadSettings()), talk.id, control.signal)) {
      add(turn, piece);
      redraw();
    }
  } catch (error) {
    state = control.signal.aborted ? "stopped" : "failed";
    if (state === "failed") {
      const retry = () => talk.turns.at(-1) === turn && ask(tries + 1);
      showFault(asFault(error), { retry, startNew, tries });
    }
  }
  settle(turn, state);
  if (running !== control) return; // another chat has begun
  running = null;
  composer.setBusy(false);
  redraw();
  saveTalk(talk);
  announce(spoken(turn));
}

function spoken(turn) {
  if (turn.state === "failed") return "";
  const videos = turn.videos.map(({ status, caption }) => `Video ${status}: ${caption}.`);
  return [turn.state === "stopped" ? "Stopped." : "Answer:", turn.answer.trim(), ...videos].join(" ");
}

function asFault(error) {
  if (error instanceof Fault) return error;
  console.error(error);
  return new Fault(0, "", "The page could not read the answer.");
}

// What is shown.

/** Shows the talk as it is: new turns, and fewer. */
function show() {
  views.filter(({ turn }) => !talk.turns.includes(turn)).forEach(({ element }) => element.remove());
  views = talk.turns.map(
    (turn) => views.find((view) => view.turn === turn) ?? new TurnView(turn, { edit, again, ask: askAbout }),
  );
  byId("turns").append(...views.filter(({ element }) => !element.isConnected).map(({ element }) => element));
  byId("welcome").hidden = views.length > 0;
  byId("new-chat").disabled = !views.length;
  views.forEach((view, at) => view.update(at === views.length - 1));
}

let drawn = 0;
let saved = 0;

/** Shows the last turn as it is at the next frame, and keeps it now and then. */
function redraw() {
  drawn ||= requestAnimationFrame((now) => {
    drawn = 0;
    views.at(-1)?.update(true);
    if (now - saved < SAVE_MS) return;
    saved = now;
    saveTalk(talk);
  });
}

function again() {
  composer.focus(); // the button is about to go
  stick();
  ask();
}

function askAbout(video) {
  composer.attachVideo(video);
}

function edit(turn) {
  edited = turn;
  composer.edit(turn);
}

function startNew() {
  const old = talk;
  running?.abort();
  running = null;
  edited = null;
  composer.setBusy(false);
  composer.drop();
  composer.clear();
  turnTo(newTalk());
  saveTalk(talk);
  showBar("The chat is cleared.", "Undo", () => {
    turnTo(old);
    saveTalk(old);
  });
  composer.focus();
}

function turnTo(other) {
  talk = other;
  ofSession(talk.id);
  show();
}

// Scrolling: the newest stays in sight unless the reader has gone up.

let stuck = true;
const bottom = () => document.documentElement.scrollHeight - innerHeight - scrollY;

function stick() {
  stuck = true;
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

function followed() {
  stuck = bottom() < 60;
  byId("latest").hidden = stuck || !views.length;
}

addEventListener("scroll", followed, { passive: true });
const resized = new ResizeObserver(() => (stuck ? stick() : followed()));
resized.observe(byId("turns"));
resized.observe(byId("composer"));
byId("latest").addEventListener("click", () => {
  stick();
  composer.focus();
});

// Keys, other tabs, and the beginning.

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (running) running.abort();
    else if (edited) composer.cancelEdit();
    else hideBar();
  }
});
addEventListener("beforeunload", () => running?.abort()); // else it breaks off, as a lost connection does
onOtherTab(() => {
  if (!running && !edited) turnTo(loadTalk());
});
byId("new-chat").addEventListener("click", startNew);
onFiles((files) => {
  composer.attachFile(files[0]);
  if (files.length > 1) showBar("A message has one clip: the first file is taken.");
});
byId("ideas").append(
  ...IDEAS.map((idea) => {
    const needsClip = idea === IDEAS[2];
    const pick = () => {
      composer.suggest(idea);
      if (needsClip) byId("file").click();
      else composer.submit();
    };
    return make("li", {}, make("button", { type: "button", textContent: idea, onclick: pick }));
  }),
);
onKeyNeeded(askForKey);
setUpSettings();
turnTo(talk);
stick();
composer.focus();
modelName().then(
  (name) => (byId("model").textContent = name),
  (fault) => fault.status !== 401 && showFault(asFault(fault), { retry: () => location.reload(), startNew }),
);
