/**
 * Build elements.
 *
 * Its one job: the only way in which anything gets into the page. Rule: what is put in is text. Names come from callers
 * of the gateway, and a name that looks like markup is a name; no module parses HTML.
 */

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden", "open", "htmlFor", "textContent"]);

/** Return an element. `onX` is a listener, `style` sets properties of it, null and false leave an attribute away. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.flat(Infinity).filter(is).map(node));
  return element;
}

function is(child) {
  return child !== null && child !== undefined && child !== false;
}

function node(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

function set(element, name, value) {
  if (value === null || value === undefined || (value === false && !PROPERTIES.has(name))) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
  else if (name === "style") for (const [key, to] of Object.entries(value)) element.style.setProperty(key, to);
  else if (PROPERTIES.has(name)) element[name] = value;
  else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
}

/** Put children in place of an element's own, and the focus back on what is the same by `data-key`. */
export function fill(element, ...children) {
  const nodes = children.flat(Infinity).filter(is).map(node);
  const old = [...element.childNodes];
  if (nodes.length === old.length && nodes.every((one, index) => one === old[index])) return;
  const held = document.activeElement;
  const key = held && element.contains(held) ? held.dataset.key : undefined;
  element.replaceChildren(...nodes);
  if (key !== undefined) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

let last = 0;

/** Return an id that no element of the page has. */
export function freshId(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}

/** Say something to whoever listens to the page instead of looking at it. */
export function say(sentence) {
  document.getElementById("said").textContent = sentence;
}
