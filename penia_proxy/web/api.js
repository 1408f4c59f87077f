/**
 * Ask the REST API.
 *
 * Its one job: a request, and its answer or a `Refused` with the API's own sentence. Rule: it asks its own origin only.
 */

export class Refused extends Error {
  constructor(status, code, message, detail = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.detail = detail;
  }

  /** What is wrong, by field; empty where it is not about fields. */
  get fields() {
    if (this.status !== 422 || !Array.isArray(this.detail)) return new Map();
    return new Map(this.detail.map(({ field, message }) => [field, message]));
  }
}

/** Return the path of an endpoint with its query; what is empty is left away. */
export function path(endpoint, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return text ? `${endpoint}?${text}` : endpoint;
}

async function ask(method, endpoint, { query, body, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path(endpoint, query), {
      method,
      signal,
      cache: "no-store",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "Penia does not answer.");
  }
  const said = await answer.json().catch(() => null);
  if (answer.ok || (said !== null && said.code === undefined)) return said;
  throw new Refused(answer.status, said?.code ?? "", said?.error ?? `Penia answered ${answer.status}.`, said?.detail);
}

export const get = (endpoint, options) => ask("GET", endpoint, options);
export const post = (endpoint, body = {}, options = {}) => ask("POST", endpoint, { body, ...options });
export const put = (endpoint, body = {}, options = {}) => ask("PUT", endpoint, { body, ...options });
export const remove = (endpoint, options) => ask("DELETE", endpoint, options);

/** Return every item of a paged list, at most `most` of them. */
export async function all(endpoint, { query = {}, signal, most = 1000 } = {}) {
  const items = [];
  for (let page = 1; items.length < most; page += 1) {
    const found = await get(endpoint, { query: { ...query, page, limit: 100 }, signal });
    items.push(...found.items);
    if (items.length >= found.total || !found.items.length) break;
  }
  return items;
}
