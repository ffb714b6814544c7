// Requests to the server that this page came from.

const KEY = "g4v.key";

/** A request that failed. status: of HTTP, 0 where the server was not reached. seconds: after which to try again. */
export class Fault extends Error {
  constructor(status, code, message, seconds = 0) {
    super(message);
    Object.assign(this, { status, code, seconds });
  }

  /** Whether the same request may succeed later. */
  get temporary() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

let unkept = null; // the key, where the browser has no storage for the page

function readKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return unkept;
  }
}

function keepKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    unkept = key;
  }
}

let askForKey = async () => null;
let asking = null; // one dialog for all requests that need a key

/** ask(wrong) shows the dialog, and gives the key or null. wrong: whether the last key was refused. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

async function request(path, { session, ...init } = {}) {
  for (;;) {
    const key = readKey();
    const headers = { ...init.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (session) headers["X-Session-Id"] = session;
    let response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Fault(0, "unreachable", "The server cannot be reached.");
    }
    if (response.ok) return response;
    const fault = await faultOf(response);
    if (response.status !== 401) throw fault;
    if (readKey() !== key) continue; // another request has got one
    asking ??= askForKey(key !== null).finally(() => (asking = null));
    const given = await asking;
    init.signal?.throwIfAborted();
    if (given === null) throw fault;
    keepKey(given);
  }
}

async function faultOf(response) {
  const { error = {} } = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  return new Fault(
    response.status,
    error.code ?? "",
    error.message ?? `The server answered ${response.status}.`,
    seconds,
  );
}

/** The name of the server's model. */
export async function modelName() {
  const { data } = await (await request("v1/models")).json();
  return data[0].id;
}

/** Keeps a file on the server, and gives its id. */
export async function upload(file, session, signal) {
  const body = new FormData();
  body.append("purpose", "user_data");
  body.append("file", file, file.name || "clip");
  return (await (await request("v1/files", { method: "POST", body, session, signal })).json()).id;
}

/** Forgets a file. It would be forgotten in time: that this fails does not matter. */
export function forget(id) {
  request(`v1/files/${encodeURIComponent(id)}`, { method: "DELETE" }).catch(() => {});
}

/** The bytes of a file or video. A player cannot send the key, so they are fetched here. */
export async function bytes(id, session) {
  const kind = id.startsWith("video_") ? "videos" : "files";
  return (await request(`v1/${kind}/${encodeURIComponent(id)}/content`, { session })).blob();
}

/**
 * Asks, and yields the pieces of the answer as they come: {content}, {refusal} or {videos}; last {finish}.
 * body: fields of a chat request but for `stream`.
 */
export async function* answer(body, session, signal) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    session,
    signal,
  });
  for await (const line of lines(response.body)) {
    if (!line.startsWith("data: ")) continue; // comments keep the connection open
    if (line === "data: [DONE]") return;
    const chunk = JSON.parse(line.slice(6));
    if (chunk.error) throw new Fault(500, chunk.error.code, chunk.error.message);
    const [choice] = chunk.choices;
    if (choice) yield choice.finish_reason ? { ...choice.delta, finish: choice.finish_reason } : choice.delta;
  }
  throw new Fault(0, "cut", "The connection was lost in the middle of the answer.");
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Fault(0, "cut", "The connection was lost in the middle of the answer.");
    }
    if (part.done) return;
    const found = (rest + part.value).split("\n");
    rest = found.pop();
    yield* found;
  }
}
