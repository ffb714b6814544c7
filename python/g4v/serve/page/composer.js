// Where a message is written: its text, and the clip that it is about.

import { Fault, forget, upload } from "./api.js";
import { announce, byId, icon, make } from "./dom.js";
import { know, preview } from "./media.js";

const text = byId("text");
const send = byId("send");

/**
 * on: {send(text, media), stop(), fault(fault, retry), edited(), session()}. While an answer comes (`busy`), the button
 * stops it.
 */
export class Composer {
  constructor(on) {
    this.on = on;
    this.media = null; // {id, name, type}; no id yet while it is sent
    this.busy = false;
    this.editing = false;
    this.sending = null; // the upload, to be aborted
    this.waits = false; // to be sent when the upload is done
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.busy) on.stop();
      else this.submit();
    });
    text.addEventListener("input", () => this.fit());
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      if (event.isComposing || event.keyCode === 229) return; // it ends a word of an input method; 229 is Safari's sign
      event.preventDefault();
      if (!this.busy) this.submit();
    });
    byId("attach").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", ({ target }) => {
      this.attachFile(target.files[0]);
      target.value = ""; // the same file can be chosen again
    });
    byId("cancel-edit").addEventListener("click", () => this.cancelEdit());
    this.fit();
  }

  /** As high as its text, up to what CSS allows. */
  fit() {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
    if (!this.busy) send.disabled = !text.value.trim();
  }

  submit() {
    const value = text.value.trim();
    if (!value) return;
    if (this.sending) {
      this.waits = true;
      announce("The message goes out when its clip is there.");
      return;
    }
    const { media } = this;
    this.clear();
    this.on.send(value, media);
  }

  clear() {
    text.value = "";
    this.editing = byId("editing").hidden = false;
    byId("editing").hidden = true;
    this.show(null);
    this.fit();
  }

  focus() {
    text.focus();
  }

  setBusy(busy) {
    this.busy = busy;
    send.classList.toggle("stop", busy);
    byId("composer").classList.toggle("waiting", busy);
    send.setAttribute("aria-label", busy ? "Stop" : "Send");
    send.title = busy ? "Stop (Esc)" : "";
    send.replaceChildren(icon(busy ? "stop" : "send"));
    send.disabled = busy ? false : !text.value.trim();
  }

  /** Puts a question back, to be changed. */
  edit(turn) {
    this.drop();
    this.editing = true;
    byId("editing").hidden = false;
    text.value = turn.text;
    if (turn.media) this.show(turn.media);
    this.fit();
    text.focus();
    text.setSelectionRange(text.value.length, text.value.length);
  }

  cancelEdit() {
    this.clear();
    this.on.edited();
    text.focus();
  }

  /** Has a text there, to be changed or sent. */
  suggest(value) {
    text.value = value;
    this.fit();
    text.focus();
  }

  /** Has the next message be about a video of the chat. */
  attachVideo({ id, caption }) {
    this.drop();
    this.show({ id, name: caption, type: "video/mp4" });
    text.focus();
    announce("The video is attached to your message.");
  }

  /** Sends a file to the server; the next message is about it. */
  async attachFile(file) {
    if (!file) return;
    if (file.type && !/^(video|image)\//.test(file.type)) {
      this.on.fault(new Fault(400, "", `This file is neither a video nor a picture: ${file.name}`));
      return;
    }
    this.drop();
    const url = URL.createObjectURL(file);
    const media = { name: file.name || "clip", type: file.type || "video/mp4" };
    const control = (this.sending = new AbortController());
    this.show(media, url);
    text.focus();
    try {
      media.id = await upload(file, this.on.session(), control.signal);
    } catch (error) {
      if (this.sending !== control) return; // it was taken away
      this.waits = false;
      this.sending = null;
      this.show(null);
      if (error.name !== "AbortError") {
        this.on.fault(error instanceof Fault ? error : new Fault(0, "", "The file cannot be read."), () =>
          this.attachFile(file),
        );
      }
      return;
    }
    if (this.sending !== control) return forget(media.id);
    this.sending = null;
    media.fresh = true;
    know(media.id, url);
    byId("attachment").firstChild?.classList.remove("sending");
    announce(`${media.name} is attached.`);
    if (this.waits) this.submit();
  }

  /** Takes the clip away. */
  drop() {
    this.sending?.abort();
    this.sending = null;
    if (this.media?.fresh) forget(this.media.id); // no message has named it
    this.show(null);
  }

  show(media, url) {
    this.media = media;
    this.waits = false;
    const place = byId("attachment");
    place.hidden = !media;
    place.replaceChildren();
    text.placeholder = media ? "Ask about this clip" : "Ask, or describe a video";
    if (!media) return;
    const chip = make("figure", { className: url ? "chip sending" : "chip" });
    const remove = make(
      "button",
      { type: "button", className: "icon", "aria-label": "Take the clip away" },
      icon("close"),
    );
    remove.addEventListener("click", () => {
      this.drop();
      text.focus();
    });
    const picture = preview(media, url, () => chip.classList.add("blind"));
    picture.controls = picture.loop = false;
    const name = make(
      "figcaption",
      {},
      make("span", { textContent: media.name }),
      make("small", { textContent: "Sending" }),
    );
    chip.append(icon("clip"), picture, name, remove);
    place.append(chip);
  }
}
