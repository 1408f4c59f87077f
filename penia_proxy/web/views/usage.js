/** Show that this view is still to come. Its one job: to hold its place. */

import { h } from "../dom.js";

export function view() {
  return { title: "usage", elements: [h("p", { class: "wait" }, "This view is still to come.")] };
}
