/**
 * Settings: how Penia is, its providers, who is told.
 *
 * Its one job: put the panels in their places. Keys have theirs when there are any.
 */

import { all, get, post } from "../api.js";
import { action } from "../controls.js";
import { h } from "../dom.js";
import { feed } from "../feed.js";
import { figure } from "../figure.js";
import { UNKNOWN, count, milliseconds, span, when, whole } from "../format.js";
import { table } from "../table.js";
import { every, throttled } from "../timing.js";
import { alertSettings } from "./alert_settings.js";
import { notificationsPanel } from "./notifications.js";

const TONE = { healthy: "good", degraded: "warn", unhealthy: "bad", draining: "warn" };

export function view({ signal }) {
  return {
    title: "Settings",
    elements: [
      h("div", { class: "view-head" }, h("h1", {}, "Settings")),
      h("div", { class: "grid" }, healthPanel(signal), providersPanel(signal)),
      h(
        "div",
        { class: "grid" },
        h("div", { class: "w6 half" }, alertSettings({ signal })),
        h("div", { class: "w6 half" }, notificationsPanel({ signal })),
      ),
    ],
  };
}

function healthPanel(signal) {
  const problem = h("p", { class: "form-wrong", role: "alert" });
  const panel = figure({
    title: "Penia",
    wide: "w4",
    load: (stop) => get("/health", { signal: stop }),
    draw: (health) => [
      healthFacts(health),
      problem,
      h(
        "div",
        { class: "form-end" },
        action("Read the configuration again", reload, { onError: (error) => (problem.textContent = error.message) }),
      ),
    ],
    signal,
    lines: 8,
  });
  async function reload() {
    problem.textContent = "";
    const { changed } = await post("/api/v1/config/reload");
    problem.textContent = changed.length ? `Changed: ${changed.join(", ")}.` : "Nothing has changed.";
    await panel.refresh();
  }
  every(10_000, panel.refresh, signal);
  return panel.element;
}

function healthFacts(health) {
  const facts = [
    ["Status", h("span", { class: "chip", "data-tone": TONE[health.status] }, health.status)],
    ["Version", health.version],
    ["Up since", `${span(health.uptime_seconds * 1000)} ago`],
    ["Ledger", `${health.database}; ${count(health.ledger_queue)} waiting to be written`],
    ["Calls in flight", `${count(health.holds_open)} held`],
    ["Active budgets", count(health.active_budgets)],
    ["Live clients", count(health.websocket_clients)],
    ["Configuration", h("span", { title: whole(health.config_loaded_at) }, `read ${when(health.config_loaded_at)}`)],
    ...(health.config_error ? [["Could not be read", health.config_error]] : []),
    ...(health.clock_jumps
      ? [["Clock jumps", `${count(health.clock_jumps)}, the last of ${health.clock_jump_seconds} s`]]
      : []),
    ...(health.export_day ? [["Daily file", `of ${health.export_day}`]] : []),
    ...(health.export_error ? [["Daily file failed", health.export_error]] : []),
    ...(health.archives ? [["Archives", `${count(health.archives)} ${health.archives === 1 ? "month" : "months"}`]] : []),
    ...(health.archive_error ? [["Archives, what is wrong", health.archive_error]] : []),
  ];
  return h(
    "dl",
    { class: "about" },
    facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function providersPanel(signal) {
  const panel = figure({
    title: "Providers",
    end: h("span", { class: "small" }, "the last hour, their newest 200 calls"),
    wide: "w8",
    flush: true,
    load: (stop) => all("/api/v1/providers", { signal: stop }),
    draw: (providers) => (providers.length ? [providerTable(providers), note()] : null),
    empty: "No provider is configured.",
    signal,
    lines: 5,
  });
  feed.on("usage missed", throttled(5_000, panel.refresh, signal), signal);
  every(60_000, panel.refresh, signal);
  return panel.element;
}

function note() {
  return h(
    "p",
    { class: "pages small" },
    "Figures are of what was recorded. An error of a provider's bills nothing and leaves no record.",
  );
}

function providerTable(providers) {
  return table({
    caption: "Providers and how their calls went",
    columns: [
      { title: "Provider", head: true, cell: (one) => h("span", { title: one.address }, one.name) },
      { title: "Calls", num: true, cell: (one) => (one.calls === 200 ? "200+" : count(one.calls)) },
      {
        title: "Broken off",
        num: true,
        cell: (one) => (one.broken ? h("span", { class: "chip", "data-tone": "warn" }, count(one.broken)) : "0"),
      },
      { title: "Left by callers", num: true, cell: (one) => count(one.left) },
      { title: "Median", num: true, cell: (one) => milliseconds(one.latency_ms) },
      { title: "First byte", num: true, cell: (one) => milliseconds(one.ttft_ms) },
      {
        title: "Last heard",
        num: true,
        cell: (one) =>
          one.last_call_at
            ? h("span", { title: whole(one.last_call_at) }, when(one.last_call_at, { seconds: true }))
            : "never",
      },
      {
        title: "Billed and captured",
        num: true,
        cell: (one) => (one.capture_rate === null ? UNKNOWN : `${(100 * one.capture_rate).toFixed(2)} %`),
      },
    ],
    rows: providers,
  });
}
