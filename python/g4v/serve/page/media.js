// Videos and pictures: players, previews, and the card of a video that is being made.

import { bytes } from "./api.js";
import { button, icon, make } from "./dom.js";

const links = new Map(); // id -> promise of an object URL
const still = matchMedia("(prefers-reduced-motion: reduce)");
const PLAYER = { controls: true, loop: true, muted: true, playsInline: true };
let session = "";

/** The id of the chat, which requests carry. */
export function ofSession(id) {
  session = id;
}

/** Has an id shown from a file of this computer, in place of the server's copy. */
export function know(id, url) {
  links.set(id, Promise.resolve(url));
}

/** Promise of a URL for players. type: of files, which the server gives out as bytes alone. */
function linkOf(id, type) {
  if (!links.has(id)) {
    const link = bytes(id, session).then((blob) =>
      URL.createObjectURL(type ? new Blob([blob], { type }) : blob),
    );
    link.catch(() => links.delete(id)); // it may come the next time
    links.set(id, link);
  }
  return links.get(id);
}

/**
 * A clip or picture that a question is about. name: its file's, or its caption. url: where it is at hand already.
 * failed: called where it cannot be shown.
 */
export function preview({ id, name, type }, url, failed = () => {}) {
  const picture = type.startsWith("image/");
  const element = picture
    ? make("img", { alt: name })
    : make("video", { ...PLAYER, autoplay: !still.matches, "aria-label": name });
  element.addEventListener("error", failed, { once: true });
  if (url) element.src = url;
  else whenSeen(element, () => linkOf(id, type).then((link) => (element.src = link), failed));
  return element;
}

/** The card of a video of an answer. `update(video)` shows how it is now; ask(video): "ask about this video". */
export class Card {
  constructor(ask) {
    this.element = make("figure", { className: "card" });
    this.ask = ask;
    this.shown = "";
  }

  update(video) {
    const { status, caption, progress } = video;
    if (status === "in_progress" && this.shown === status) {
      this.bar.value = progress;
      this.say(`Making the video, ${progress}%`);
      return;
    }
    if (status === this.shown) return;
    this.shown = status;
    this.element.dataset.status = status;
    const body = BODIES[status]?.call(this, video) ?? [note("This video was not made.")];
    this.element.replaceChildren(...body, make("figcaption", { textContent: caption }));
    if (status === "completed") this.element.append(this.actions);
  }

  waiting(words, progress) {
    this.bar = make("progress", { max: 100, "aria-label": "Making the video" });
    if (progress) this.bar.value = progress; // else it is not known how far
    this.words = make("span", { textContent: words });
    return [make("div", { className: "frame making" }, this.bar, this.words)];
  }

  say(words) {
    this.words.textContent = words;
  }

  player(video) {
    const player = make("video", PLAYER);
    player.autoplay = !still.matches;
    player.setAttribute("aria-label", `Video: ${video.caption}`);
    const frame = make("div", { className: "frame" }, player);
    player.addEventListener(
      "loadedmetadata",
      () => (frame.style.aspectRatio = `${player.videoWidth} / ${player.videoHeight}`),
    );
    player.addEventListener("error", () =>
      frame.replaceWith(note("This browser cannot play the video; download it to see it.")),
    );
    const save = make("a", { className: "quiet", download: fileName(video.caption), hidden: true });
    save.append(icon("save"), make("span", { textContent: "Download" }));
    const ask = button("ask", "Ask about this video", () => this.ask(video));
    this.actions = make("div", { className: "actions" }, save, ask);
    const show = () =>
      linkOf(video.id).then(
        (link) => {
          player.src = save.href = link;
          save.hidden = false;
        },
        (fault) => {
          const gone = fault.status === 404;
          const words = gone ? "The server no longer keeps this video." : "This video could not be loaded.";
          frame.replaceWith(note(words));
          this.actions.replaceChildren(
            ...(gone ? [] : [button("again", "Load it", () => this.reload(video))]),
          );
        },
      );
    whenSeen(player, show);
    return [frame];
  }

  reload(video) {
    this.shown = "";
    this.update(video);
  }
}

const BODIES = {
  queued() {
    return this.waiting("Waiting for its turn", 0);
  },
  in_progress({ progress }) {
    return this.waiting(progress ? `Making the video, ${progress}%` : "Making the video", progress);
  },
  completed(video) {
    return this.player(video);
  },
  withheld: () => [note("This video is withheld: a safety check found it unsafe.", "shield")],
  failed: ({ error }) => [note(`This video was not made${error?.message ? `: ${error.message}` : "."}`)],
  skipped: () => [note("No video: making videos is off in the settings.")],
  stopped: () => [note("Stopped before the video was done.")],
};

function note(words, drawing = "clip") {
  return make("p", { className: "note" }, icon(drawing), make("span", { textContent: words }));
}

function fileName(caption) {
  const words = caption
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "");
  return `${words.slice(0, 60) || "video"}.mp4`;
}

/** Calls back when an element comes into sight: a long chat does not load all its videos at once. */
function whenSeen(element, call) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      call();
    },
    { rootMargin: "400px" },
  );
  observer.observe(element);
}
