/**
 * Find the view of an address.
 *
 * Its one job: `#/name/part?query` in both directions. Rule: an address that is no view's is the overview's.
 */

export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...parts] = path.split("/").map(read);
  return { name: name || "overview", parts, query: new URLSearchParams(query) };
}

function read(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Return the address of a view. */
export function to(name, parts = [], query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return `#/${[name, ...parts].map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Write the present view's query into its address, without a step in the history. */
export function keep(query) {
  const { name, parts } = here();
  history.replaceState(null, "", to(name, parts, query));
}

/** Go to a view. */
export function go(name, parts = [], query = {}) {
  location.hash = to(name, parts, query);
}
