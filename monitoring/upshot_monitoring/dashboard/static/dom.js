// Making and changing elements. Text only ever goes in as text: names and values come from requests and are not to be trusted.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element; children are elements or strings, and strings become text. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function s(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Set the text of a node only where it differs, so that a refresh does not disturb a selection. */
export function say(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Text from a request: isolated, so that right-to-left names do not turn the words around them. */
export function name(text, properties) {
  return h("bdi", { class: "name", ...properties }, String(text));
}

/**
 * Make the children of `parent` follow `items` without making anew what is there: focus, selection and open rows survive.
 * `make(item)` returns an element; `change(element, item)` updates it.
 */
export function follow(parent, items, key, make, change) {
  const known = parent.keyed ?? new Map();
  const now = new Map();
  let before = null;
  for (const item of items) {
    const id = key(item);
    if (now.has(id)) continue;
    const node = known.get(id) ?? make(item);
    change?.(node, item);
    now.set(id, node);
    const place = before ? before.nextSibling : parent.firstChild;
    if (node !== place) parent.insertBefore(node, place);
    before = node;
  }
  for (const child of [...parent.childNodes]) if (![...now.values()].includes(child)) child.remove();
  parent.keyed = now;
}

/** A row of buttons of which one is chosen (a radio group: arrow keys move the choice). */
export function choice(label, options, chosen, onchange) {
  const group = `choice-${label.replaceAll(/\W+/g, "-").toLowerCase()}`;
  return h(
    "fieldset",
    { class: "choice" },
    h("legend", { class: "hidden" }, label),
    options.map(([value, text]) =>
      h(
        "label",
        {},
        h("input", { type: "radio", name: group, value, checked: value === chosen, onchange: () => onchange(value) }),
        h("span", {}, text),
      ),
    ),
  );
}

/** A drop-down list with its label beside it. */
export function select(label, options, chosen, onchange) {
  const list = h(
    "select",
    { onchange: (event) => onchange(event.target.value) },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  return h("label", { class: "select" }, h("span", {}, label), list);
}

/** A link to the lines of Python that ask for an answer again; `address` is the answer's own. */
export function asPython(address) {
  const title = "Download the lines of Python that ask for this again";
  return h("a", { href: `${address}${address.includes("?") ? "&" : "?"}code=true`, download: "", title }, "Python");
}

/** What a panel says when it has nothing to show. */
export function empty(...words) {
  return h("p", { class: "empty" }, ...words);
}

/** A named place inside a panel: `body`, `controls`, `note`. */
export const place = (panel, part) => panel.querySelector(`[data-part="${part}"]`);
