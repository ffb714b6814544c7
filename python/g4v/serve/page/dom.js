// Elements, made without HTML: text is only ever set as text.

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element. properties: of the element ("className", "textContent", ...); those with a dash are attributes.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A drawing of the page's set, such as "send". It is hidden from screen readers: its button has a name. */
export function icon(name) {
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A button with a drawing and a word. */
export function button(name, label, onclick) {
  return make(
    "button",
    { type: "button", className: "quiet", onclick },
    icon(name),
    make("span", { textContent: label }),
  );
}

/** Has a screen reader say something once, when it has finished what it says now. */
export function announce(text) {
  byId("announcer").textContent = text;
}
