// What was said: kept in this browser as texts and ids. Videos stay on the server.

const TALK = "g4v.talk";
const SETTINGS = "g4v.settings";
const LINK = /^\n<video>[^<>]*<\/video>\n$/; // as --videos-in-text writes it, a piece of its own

/**
 * A turn is a question and its answer:
 *   text, media    the question; media: null or {id, name, type}, an id of a file or video of the server
 *   answer         text of the answer so far
 *   videos         as the server tells of them: {index, id, status, progress, caption, offset, error}
 *   refused        whether the assistant refused
 *   finish         finish_reason
 *   state          "running", "done", "stopped" or "failed"
 */
export function newTurn(text, media) {
  return { text, media, ...noAnswer() };
}

/** What a turn has before its answer begins. */
export function noAnswer() {
  return { answer: "", videos: [], refused: false, finish: "", state: "running" };
}

export function newTalk() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return { id: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""), turns: [] };
}

/** The talk that was kept, or a new one. */
export function loadTalk() {
  const kept = read(TALK);
  if (typeof kept?.id !== "string" || !Array.isArray(kept.turns)) return newTalk();
  const turns = kept.turns.filter((turn) => areTexts(turn?.text, turn?.answer)); // of another version, or not ours
  for (const turn of turns) {
    turn.media = areTexts(turn.media?.id, turn.media?.name, turn.media?.type) ? turn.media : null;
    turn.videos = Array.isArray(turn.videos) ? turn.videos.filter((video) => areTexts(video?.caption)) : [];
    if (turn.state === "running") settle(turn, "stopped"); // the page was left in the middle
  }
  return { id: kept.id, turns };
}

const areTexts = (...values) => values.every((value) => typeof value === "string");

export function saveTalk(talk) {
  write(TALK, talk);
}

/** Calls back when another tab has changed the talk, and no answer comes there. */
export function onOtherTab(changed) {
  addEventListener("storage", ({ key }) => {
    if (key === TALK && read(TALK)?.turns?.at(-1)?.state !== "running") changed();
  });
}

export const loadSettings = () => ({ videos: true, ...read(SETTINGS) });
export const saveSettings = (settings) => write(SETTINGS, settings);

/** Adds a piece of the answer to its turn. */
export function add(turn, { content, videos, refusal, finish }) {
  if (content && !LINK.test(content)) turn.answer += content;
  if (refusal) {
    turn.refused = true;
    turn.answer ||= refusal;
  }
  if (finish) turn.finish = finish;
  for (const { index, id, status, progress, caption, offset, error } of videos ?? []) {
    const video = { index, id, status, progress, caption, offset, error };
    const at = turn.videos.findIndex((other) => other.index === index);
    if (at < 0) turn.videos.push(video);
    else turn.videos[at] = video;
  }
}

/** Ends a turn. Videos that were not done are gone with it. */
export function settle(turn, state) {
  turn.state = state;
  for (const video of turn.videos) {
    if (video.status === "queued" || video.status === "in_progress") video.status = "stopped";
  }
}

/** The fields of a chat request that asks the last question of a talk. */
export function requestOf(talk, settings) {
  const last = talk.turns.at(-1);
  const messages = [];
  for (const turn of talk.turns) {
    const answered = turn.answer || turn.videos.length;
    if (turn !== last && !answered) continue; // a question that nobody answered is no part of the chat
    messages.push({ role: "user", content: contentOf(turn) });
    if (turn !== last)
      messages.push({ role: "assistant", content: turn.answer, videos: turn.videos.map(shown) });
  }
  const body = { messages };
  if (!settings.videos) body.modalities = ["text"];
  for (const name of ["temperature", "max_tokens", "seed", "num_inference_steps"]) {
    if (typeof settings[name] === "number") body[name] = settings[name];
  }
  return body;
}

const shown = ({ id, caption, offset }) => ({ id, caption, offset, type: "video_url" });

function contentOf({ text, media }) {
  if (!media) return text;
  const part = media.type.startsWith("image/")
    ? { type: "image_url", image_url: { url: media.id } }
    : { type: "video_url", video_url: { url: media.id } };
  return [part, { type: "text", text }];
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null; // no storage, or not ours
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Private windows and full storages: the page works, and forgets.
  }
}
