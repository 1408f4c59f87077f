/**
 * Models: what they cost, and what others would.
 *
 * Its one job: put the three panels in their places.
 */

import { all, post } from "../api.js";
import { freshId, h } from "../dom.js";
import { pricesPanel } from "./prices.js";
import { recommendPanel } from "./recommend.js";
import { whatIfPanel } from "./what_if.js";

export function view({ signal }) {
  const names = { components: freshId("names"), models: freshId("names"), providers: freshId("names") };
  const lists = Object.fromEntries(Object.entries(names).map(([kind, id]) => [kind, h("datalist", { id })]));
  offer(lists, signal);
  return {
    title: "Models",
    elements: [
      h("div", { class: "view-head" }, h("h1", {}, "Models")),
      ...Object.values(lists),
      h(
        "div",
        { class: "grid" },
        h("div", { class: "w6 half" }, recommendPanel({ names, signal })),
        h("div", { class: "w6 half" }, whatIfPanel({ names, signal })),
      ),
      pricesPanel({ signal }),
    ],
  };
}

/** Offer the names that calls have had. */
async function offer(lists, signal) {
  try {
    const [{ groups }, providers] = await Promise.all([
      post("/api/v1/usage/summary", { days: 30 }, { signal }),
      all("/api/v1/providers", { signal }),
    ]);
    const put = (list, values) => list.replaceChildren(...values.map((value) => h("option", { value })));
    put(lists.components, Object.keys(groups.component));
    put(lists.models, Object.keys(groups.model));
    put(
      lists.providers,
      providers.map(({ name }) => name),
    );
  } catch {
    // Names can be typed.
  }
}
