// Choosing photographs: drop, pick, take or paste; each shown with a way to remove it.

import { announce, find, freshId, icon, make } from "./elements.js";
import { FORMATS, bytes, count } from "./wording.js";

const TYPES = ["image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp"];
const ENDINGS = /\.(jpe?g|png|webp|tiff?|bmp)$/i;

/** A list of chosen photographs in an element of the page. */
export class Photographs {
  /**
   * @param {HTMLElement} place
   * @param {{most: number, said: string, onChange: () => void}} told most: how many at once; said: what they are of
   */
  constructor(place, { most, said, onChange }) {
    this.files = [];
    this.most = most;
    this.onChange = onChange;
    this.urls = new Map();
    this.list = make("ul.previews", { aria: { label: "Chosen photographs" }, hidden: true });
    this.complaint = make("p.field-problem", { role: "alert", hidden: true });
    this.zone = this.#dropZone(said);
    place.append(this.zone, this.complaint, this.list);
  }

  #dropZone(said) {
    const pick = make("input", { type: "file", accept: TYPES.join(), multiple: this.most > 1, hidden: true, data: { picks: "files" } });
    const take = make("input", { type: "file", accept: "image/*", capture: "environment", hidden: true, data: { picks: "camera" } });
    for (const input of [pick, take]) {
      input.addEventListener("change", () => {
        this.add([...input.files]);
        // So that choosing the same file again is a change.
        input.value = "";
      });
    }
    const hint = freshId("hint");
    this.chooser = make("button.choose", { type: "button", aria: { describedby: hint }, on: { click: () => pick.click() } }, icon("picture"), "Choose photographs");
    const camera = make("button.camera", { type: "button", on: { click: () => take.click() } }, icon("camera"), "Take a photograph");
    const zone = make(
      "div.drop",
      {},
      make("p.drop-title", { aria: { hidden: "true" } }, "Drop photographs here"),
      make("div.drop-buttons", {}, this.chooser, camera),
      make("p.hint", { id: hint }, `${said}.`, make("br"), `${FORMATS}.`),
      pick,
      take,
    );
    this.#listenForDrops(zone);
    return zone;
  }

  #listenForDrops(zone) {
    const over = (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      zone.classList.add("over");
    };
    zone.addEventListener("dragenter", over);
    zone.addEventListener("dragover", over);
    zone.addEventListener("dragleave", (event) => {
      if (!zone.contains(event.relatedTarget)) zone.classList.remove("over");
    });
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      this.add([...event.dataTransfer.files]);
    });
  }

  /** Add what can be a photograph; say what was left out. */
  add(files) {
    const left = [];
    let added = 0;
    for (const file of files) {
      if (!TYPES.includes(file.type) && !(file.type === "" && ENDINGS.test(file.name))) {
        left.push(`${file.name} is ${file.type || "of an unknown kind"}; wanted ${FORMATS}.`);
      } else if (this.files.some((known) => isSame(known, file))) {
        left.push(`${file.name} is already there.`);
      } else if (this.files.length >= this.most) {
        left.push(`${file.name} is one too many; at most ${count(this.most, "photograph")} at once.`);
      } else {
        this.files.push(file);
        added += 1;
      }
    }
    this.#complain(left);
    this.#draw();
    if (added) {
      announce(`${count(added, "photograph")} added, ${this.files.length} in all.`);
      this.onChange();
    }
  }

  remove(file) {
    const place = this.files.indexOf(file);
    if (place < 0) return;
    this.files.splice(place, 1);
    this.#complain([]);
    this.#draw();
    announce(`${file.name} removed, ${this.files.length} left.`);
    const buttons = this.list.querySelectorAll("button");
    (buttons[Math.min(place, buttons.length - 1)] ?? this.chooser).focus();
    this.onChange();
  }

  /** Keep only these. */
  keep(files) {
    this.files = this.files.filter((file) => files.includes(file));
    this.#complain([]);
    this.#draw();
  }

  clear() {
    this.keep([]);
  }

  #complain(left) {
    this.complaint.hidden = !left.length;
    this.complaint.textContent = left.slice(0, 3).join(" ") + (left.length > 3 ? ` ${left.length - 3} more were left out.` : "");
  }

  #draw() {
    for (const [file, url] of this.urls) {
      if (!this.files.includes(file)) {
        URL.revokeObjectURL(url);
        this.urls.delete(file);
      }
    }
    this.list.hidden = !this.files.length;
    this.zone.classList.toggle("compact", this.files.length > 0);
    this.zone.hidden = this.files.length >= this.most;
    this.chooser.lastChild.textContent = this.files.length ? "Add photographs" : "Choose photographs";
    this.list.replaceChildren(...this.files.map((file) => this.#preview(file)));
  }

  #preview(file) {
    if (!this.urls.has(file)) this.urls.set(file, URL.createObjectURL(file));
    return make(
      "li",
      {},
      picture(this.urls.get(file), ""),
      make("span.file", {}, make("span.file-name", {}, file.name), make("span.hint", {}, bytes(file.size))),
      make("button.remove", { type: "button", aria: { label: `Remove ${file.name}` }, title: "Remove", on: { click: () => this.remove(file) } }, icon("close")),
    );
  }
}

const isSame = (one, other) => one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;

/** A picture, or a word in its place where the browser cannot show the format. */
export function picture(url, alt) {
  const image = make("img", { src: url, alt });
  image.addEventListener("error", () => image.replaceWith(make("span.no-picture", {}, "No preview")), { once: true });
  return image;
}

/** Let pasted pictures in, and keep a drop beside the zone from leaving the page. */
export function acceptEverywhere(shown) {
  for (const event of ["dragover", "drop"]) window.addEventListener(event, (one) => one.preventDefault());
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    const photographs = shown();
    if (files.length && photographs && !find("key-dialog").open) photographs.add(files);
  });
}
