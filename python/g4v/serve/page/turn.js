// A turn of the chat on the page: the question, and the answer as it comes.

import { button, icon, make } from "./dom.js";
import { Card, preview } from "./media.js";

/**
 * actions: {edit(turn), again(turn), ask(video)}. `update(last)` shows the turn as it is now; last: whether it is the
 * last one, which can be edited and answered again.
 */
export class TurnView {
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.parts = []; // of the answer: text nodes and cards, in the order of what is shown
    this.copy = button("copy", "Copy", () => this.copyText());
    this.edit = button("edit", "Edit", () => actions.edit(turn));
    this.again = button("again", "Answer again", () => actions.again(turn));
    this.note = make("p", { className: "state" });
    this.body = make("div", { className: "body" });
    this.tools = make("div", { className: "tools" }, this.copy, this.again);
    const heading = (textContent) => make("h2", { className: "unseen", textContent });
    const change = make("div", { className: "tools" }, this.edit);
    const question = make("article", { className: "question" }, heading("You"), ...this.question(), change);
    const answer = make(
      "article",
      { className: "answer" },
      heading("Answer"),
      this.body,
      this.note,
      this.tools,
    );
    this.element = make("li", { className: "turn" }, question, answer);
  }

  question() {
    const { text, media } = this.turn;
    const said = make("p", { className: "said", textContent: text });
    if (!media) return [said];
    const name = make("figcaption", { textContent: media.name });
    const own = media.id.startsWith("video_"); // of this chat: it plays further up
    const figure = make("figure", { className: own ? "chip" : "shown" });
    const picture = preview(media, null, () => figure.classList.add("blind"));
    if (own) picture.controls = picture.autoplay = false;
    figure.append(icon("clip"), picture, name);
    return [figure, said];
  }

  update(last) {
    const { turn } = this;
    const running = turn.state === "running";
    const pieces = this.pieces();
    pieces.forEach((piece, at) => this.show(piece, at));
    this.cut(pieces.length); // an answer that begins anew is shorter
    const making = turn.videos.some((video) => video.status === "queued" || video.status === "in_progress");
    this.body.classList.toggle("writing", running && !making);
    this.body.classList.toggle("empty", !this.parts.length);
    this.body.setAttribute("aria-busy", String(running));
    this.note.textContent = running ? "" : remark(turn);
    this.copy.hidden = !turn.answer || !navigator.clipboard; // it is not there on http: of a network
    this.edit.hidden = this.again.hidden = !last || running;
    this.tools.hidden = running;
  }

  /** The answer in the order of reading: texts, and videos at their places. */
  pieces() {
    const { answer, videos } = this.turn;
    const characters = Array.from(answer); // as the server counts: an emoji is one
    const pieces = [];
    let from = 0;
    for (const video of videos) {
      const text = characters.slice(from, video.offset).join("").trim();
      if (text) pieces.push(text);
      pieces.push(video);
      from = Math.max(from, video.offset);
    }
    const rest = characters.slice(from).join("").trim();
    if (rest) pieces.push(rest);
    return pieces;
  }

  show(piece, at) {
    const text = typeof piece === "string";
    let part = this.parts[at];
    if (!part || text !== part instanceof HTMLElement) {
      this.cut(at);
      part = text ? make("p") : new Card(this.actions.ask);
      this.parts.push(part);
      this.body.append(part.element ?? part);
    }
    if (!text) part.update(piece);
    else if (part.textContent !== piece) part.textContent = piece;
  }

  /** Takes away the parts from this one on. */
  cut(from) {
    this.parts.splice(from).forEach((part) => (part.element ?? part).remove());
  }

  async copyText() {
    await navigator.clipboard.writeText(this.turn.answer.trim());
    const word = this.copy.lastChild;
    word.textContent = "Copied";
    setTimeout(() => (word.textContent = "Copy"), 1500);
  }
}

/** What there is to say of how an answer ended. */
function remark({ state, finish, answer, videos }) {
  if (state === "stopped") return "Stopped";
  if (state === "failed") return answer || videos.length ? "The answer broke off" : "No answer";
  if (finish === "length") return "The answer was cut at its longest";
  return answer || videos.length ? "" : "The answer is empty";
}
