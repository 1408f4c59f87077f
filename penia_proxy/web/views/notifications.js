/**
 * Show what was sent, and what could not be.
 *
 * Its one job: the newest notifications, those given up first, with a way to try again.
 */

import { get, post } from "../api.js";
import { action } from "../controls.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { when, whole } from "../format.js";
import { table } from "../table.js";
import { every, throttled } from "../timing.js";

export function notificationsPanel({ signal }) {
  const panel = figure({
    title: "What was sent",
    flush: true,
    load: async (stop) => {
      const ask = (query) => get("/api/v1/notifications", { query: { limit: 10, ...query }, signal: stop });
      const [dead, newest] = await Promise.all([ask({ state: "dead" }), ask({})]);
      const rest = newest.items.filter((one) => one.state !== "dead");
      return [...dead.items, ...rest].slice(0, 12);
    },
    draw: (items) => (items.length ? drawn(items, panel) : null),
    empty: "Nobody has been told of anything yet.",
    signal,
    lines: 3,
  });
  feed.on("alert", throttled(2_000, panel.refresh, signal), signal);
  every(30_000, panel.refresh, signal); // what was sent, or given up, is no event
  return panel.element;
}

function drawn(items, panel) {
  const again = (one) =>
    action("Try again", async () => {
      await post(`/api/v1/notifications/${encodeURIComponent(one.notification_id)}/retry`);
      await panel.refresh();
    });
  return table({
    caption: "Notifications",
    columns: [
      {
        title: "When",
        cell: (one) => h("span", { class: "nowrap", title: whole(one.created_at) }, when(one.created_at)),
      },
      { title: "Channel", head: true, cell: (one) => one.channel },
      { title: "State", cell: (one) => (one.last_error ? `${one.state}: ${one.last_error}` : one.state) },
      { title: h("span", { class: "unseen" }, "Actions"), cell: (one) => (one.state === "dead" ? again(one) : "") },
    ],
    rows: items,
  });
}
