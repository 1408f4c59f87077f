/**
 * Show what a scope would have covered.
 *
 * Its one job: the sentence beside the form, "matches these 214 calls of the last week", asked for anew when one has
 * stopped typing.
 */

import { post } from "../api.js";
import { h } from "../dom.js";
import { figure } from "../figure.js";
import { count, exact, money, plural } from "../format.js";
import { settled } from "../timing.js";

/** Return `{element, changed}`; `read()` returns the scope. */
export function scopePreview({ read, signal }) {
  const panel = figure({
    title: "What it covers",
    load: (stop) => post("/api/v1/budgets/preview", { scope: read() }, { signal: stop }),
    draw: drawn,
    empty: "",
    signal,
    lines: 4,
  });
  panel.element.id = "preview";
  panel.element.setAttribute("aria-live", "polite");
  return { element: panel.element, changed: settled(300, panel.refresh, signal) };
}

function drawn({ calls, cost, looked_at: lookedAt, is_whole: isWhole, components, models }) {
  const of = isWhole ? `the last week's ${count(lookedAt)}` : `the newest ${count(lookedAt)} of the last week`;
  if (!lookedAt) return h("p", { class: "muted" }, "No call was made in the last week.");
  return [
    h(
      "p",
      {},
      "Matches ",
      h("strong", {}, plural(calls, "call")),
      ` of ${of}, which cost `,
      h("span", { title: exact(cost) }, `${money(cost)}.`),
    ),
    calls > 0 &&
      h("div", { class: "columns wide small" }, most("Components", components), most("Models asked for", models)),
  ];
}

function most(title, found) {
  return h(
    "div",
    {},
    h("h3", {}, title),
    h(
      "ul",
      {},
      found.map(({ name, calls }) =>
        h("li", { class: "share" }, h("span", { class: "name", title: name }, name), h("span", {}, count(calls))),
      ),
    ),
  );
}
