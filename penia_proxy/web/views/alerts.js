/**
 * Alerts.
 *
 * Its one job: what is the matter now, what was, and who is told, each in its panel.
 */

import { get, post, put } from "../api.js";
import { action, choice, field } from "../controls.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { count, plural, when, whole } from "../format.js";
import { pager } from "../pager.js";
import { to } from "../router.js";
import { table } from "../table.js";
import { throttled } from "../timing.js";
import { groups } from "./alert_groups.js";
import { alertSettings } from "./alert_settings.js";
import { notificationsPanel } from "./notifications.js";

const SEVERITY = { info: null, warning: "warn", critical: "bad" };
/** Of each severity, the newest: what is critical is never behind what is not. */
const SHOWN = 100;

export function view({ signal }) {
  const now = nowPanel(signal);
  const before = historyPanel(signal);
  const refresh = throttled(300, () => (now.refresh(), before.refresh()), signal);
  feed.on("alert", refresh, signal);
  return {
    title: "Alerts",
    elements: [
      h("div", { class: "view-head" }, h("h1", {}, "Alerts")),
      now.element,
      h(
        "div",
        { class: "grid" },
        h("div", { class: "w7" }, before.element),
        h("div", { class: "w5" }, alertSettings({ signal }), notificationsPanel({ signal })),
      ),
    ],
  };
}

function nowPanel(signal) {
  const problem = h("p", { class: "form-wrong", role: "alert" });
  const panel = figure({
    title: "Now",
    end: h("span", { class: "small" }, "of windows that have not ended, not dismissed"),
    flush: true,
    load: async (stop) => {
      const query = { active: true, is_dismissed: false, limit: SHOWN };
      const ask = (severity) => get("/api/v1/alerts", { query: { ...query, severity }, signal: stop });
      const found = await Promise.all(["critical", "warning", "info"].map(ask));
      return { alerts: found.flatMap(({ items }) => items), total: found.reduce((sum, { total }) => sum + total, 0) };
    },
    draw({ alerts, total }) {
      if (!alerts.length) return null;
      const rest = total - alerts.length;
      const more = `and ${plural(rest, "older one")}: they come up when these are dismissed, and are in the history.`;
      return [
        problem,
        h("ul", { id: "alerts-now" }, groups(alerts).map(entry)),
        rest > 0 && h("p", { class: "pages small" }, more),
      ];
    },
    empty: "Nothing is the matter.",
    signal,
    lines: 4,
  });
  panel.element.setAttribute("aria-live", "polite");

  function entry(group) {
    const [alert, ...lower] = group;
    const isSeen = group.every(({ acknowledged }) => acknowledged);
    const onError = (error) => (problem.textContent = error.message);
    /** Return a button that does the same to every alert of the group. */
    const button = (label, act, done) => {
      const everyOne = async () => {
        await Promise.all(group.map((one) => act(`/api/v1/alerts/${encodeURIComponent(one.alert_id)}`)));
        document.dispatchEvent(new Event("answered"));
        await panel.refresh();
      };
      const names = { "aria-label": `${label}: ${alert.title}`, "data-key": `${label}-${alert.alert_id}` };
      return action(label, everyOne, { onError, done, ...names });
    };
    return h(
      "li",
      { class: "item", "data-severity": alert.severity, "data-alert": alert.alert_id },
      h(
        "div",
        { class: "what" },
        h("p", { class: "line" }, mark(alert), h("strong", {}, alert.title)),
        h("p", {}, alert.message),
        h(
          "p",
          { class: "small muted" },
          h(
            "time",
            { datetime: alert.created_at, title: whole(alert.created_at) },
            when(alert.created_at, { seconds: true }),
          ),
          alert.window_end && ` · until ${when(alert.window_end)}`,
          lower.length > 0 && ` · past ${lower.map((one) => `${one.threshold_percent} %`).join(", ")} before`,
          isSeen && " · acknowledged",
          alert.budget_id && [" · ", h("a", { href: to("budgets", [alert.budget_id]) }, "its budget")],
        ),
      ),
      h(
        "div",
        { class: "do" },
        !isSeen && button("Acknowledge", (address) => post(`${address}/acknowledge`), "Acknowledged."),
        button("Dismiss", (address) => put(`${address}/dismiss`), "Dismissed."),
      ),
    );
  }
  return panel;
}

function historyPanel(signal) {
  let page = 1;
  const severity = choice(
    [
      ["", "any"],
      ["critical", "critical"],
      ["warning", "warning"],
      ["info", "info"],
    ],
    "",
  );
  const types = ["threshold", "exceeded", "forecast", "anomaly", "unpriced", "approval", "store"];
  const type = choice([["", "any"], ...types.map((one) => [one, one])], "");
  const panel = figure({
    title: "History",
    end: [field({ label: "Severity", control: severity }).element, field({ label: "Kind", control: type }).element],
    flush: true,
    load: (stop) =>
      get("/api/v1/alerts", {
        query: { severity: severity.value, alert_type: type.value, page, limit: 20 },
        signal: stop,
      }),
    draw: ({ items, total }) => (items.length ? [historyTable(items), pages(total)] : null),
    empty: "There has been no such alert.",
    signal,
    lines: 6,
  });
  const anew = () => turn(1);
  severity.addEventListener("change", anew);
  type.addEventListener("change", anew);
  function turn(to_page) {
    page = to_page;
    panel.refresh();
  }
  function pages(total) {
    const last = Math.ceil(total / 20);
    return pager({
      text: `${plural(total, "alert")}, page ${count(page)} of ${count(last)}`,
      onBack: page > 1 ? () => turn(page - 1) : null,
      onOn: page < last ? () => turn(page + 1) : null,
    });
  }
  return panel;
}

function historyTable(alerts) {
  return table({
    caption: "Alerts, newest first",
    columns: [
      {
        title: "When",
        cell: (alert) => h("span", { class: "nowrap", title: whole(alert.created_at) }, when(alert.created_at)),
      },
      {
        title: "Severity",
        cell: mark,
      },
      { title: "What", head: true, cell: (alert) => alert.title },
      { title: "State", cell: state },
    ],
    rows: alerts,
  });
}

function state(alert) {
  if (alert.resolved_at) return h("span", { title: whole(alert.resolved_at) }, "resolved");
  if (alert.is_dismissed) return "dismissed";
  return alert.acknowledged ? "acknowledged" : "open";
}

function mark({ severity }) {
  return h("span", { class: "chip", "data-tone": SEVERITY[severity] }, severity);
}
