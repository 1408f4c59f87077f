/**
 * Go through a list that is longer than a page.
 *
 * Its one job: the line under a list: what of it is shown, and buttons to what comes before and after.
 */

import { h } from "./dom.js";

export function pager({ text, onBack = null, onOn = null, back = "Newer", on = "Older" }) {
  const button = (label, act) =>
    h(
      "button",
      { type: "button", "data-key": `page-${label}`, disabled: act === null, onClick: act ?? (() => {}) },
      label,
    );
  return h(
    "nav",
    { class: "pages", "aria-label": "Pages" },
    h("span", {}, text),
    (onBack || onOn) && h("div", { class: "end" }, button(back, onBack), button(on, onOn)),
  );
}
