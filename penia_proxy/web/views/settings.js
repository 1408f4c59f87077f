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

const PROVIDER_TONE = { ok: "good", degraded: "warn", failing: "bad" };
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
    ["Up for", span(health.uptime_seconds * 1000)],
    ["Ledger", `${health.database}; ${count(health.ledger_queue)} waiting to be written`],
    ["Calls in flight", `${count(health.holds_open)} held`],
    ...(health.ledger_error ? [["Ledger, what is wrong", health.ledger_error]] : []),
    ["Active budgets", count(health.active_budgets)],
    ["Live clients", count(health.websocket_clients)],
    ["Configuration", `read ${whole(health.config_loaded_at)}`],
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
    flush: true,
    load: (stop) => all("/api/v1/providers", { signal: stop }),
    draw: (providers) => (providers.length ? [providerTable(providers), note()] : null),
    empty: "No provider is configured.",
    signal,
    lines: 5,
  });
  feed.on("usage missed", throttled(5_000, panel.refresh, signal), signal);
  every(15_000, panel.refresh, signal); // a failure is no call of the feed
  return panel.element;
}

function note() {
  return h(
    "p",
    { class: "pages small" },
    `Attempts are counted since Penia was started: 429, 5xx, timeouts, connections that fail and answers that break off
    are failures; another 4xx is its caller's. Degraded: in the last five minutes one in twenty failed. Failing: half of
    them, and three at least. Quiet: nobody tried. Calls and times are of records of the last hour, the newest 200.`,
  );
}

/** What counts as a failure, in the API's words; what is told of each. */
const FAILURES = {
  rate_limited: "rate limited (429)",
  server_error: "server error (5xx)",
  timeout: "timeout",
  unreachable: "not reached",
  broken: "broke off",
};

/** Return failures of attempts; which they were is their title. */
function failed(counts) {
  const attempts = Object.values(counts).reduce((sum, number) => sum + number, 0);
  if (!attempts) return UNKNOWN;
  const kinds = Object.entries(FAILURES).filter(([name]) => counts[name]);
  const failures = kinds.reduce((sum, [name]) => sum + counts[name], 0);
  const told = kinds.map(([name, text]) => `${text}: ${count(counts[name])}`);
  if (counts.client_error) told.push(`refused as their callers' (4xx): ${count(counts.client_error)}`);
  return h("span", { class: "nowrap", title: told.join(", ") || null }, `${count(failures)} of ${count(attempts)}`);
}

function lastFailure({ last_failure: failure }) {
  if (failure === null) return h("span", { class: "muted" }, "none since start");
  const at = h("div", { class: "small", title: whole(failure.at) }, when(failure.at, { seconds: true }));
  return h("div", {}, FAILURES[failure.outcome], at);
}

function providerTable(providers) {
  return table({
    caption: "Providers and how their calls went",
    columns: [
      { title: "Provider", head: true, cell: (one) => h("span", { title: one.address }, one.name) },
      {
        title: "State",
        cell: (one) => h("span", { class: "chip", "data-tone": PROVIDER_TONE[one.state] }, one.state),
      },
      { title: "Failed, 5 min", num: true, cell: (one) => failed(one.attempts.last_5_minutes) },
      { title: "1 hour", spare: true, num: true, cell: (one) => failed(one.attempts.last_hour) },
      { title: "Last failure", cell: lastFailure },
      { title: "Calls", spare: true, num: true, cell: (one) => (one.calls === 200 ? "200+" : count(one.calls)) },
      { title: "Left by callers", rare: true, num: true, cell: (one) => count(one.left) },
      {
        title: "Median",
        spare: true,
        num: true,
        cell: (one) => [
          milliseconds(one.latency_ms),
          one.ttft_ms !== null && h("div", { class: "small" }, `first byte ${milliseconds(one.ttft_ms)}`),
        ],
      },
      {
        title: "Last heard",
        spare: true,
        num: true,
        cell: (one) =>
          one.last_call_at
            ? h("span", { title: whole(one.last_call_at) }, when(one.last_call_at, { seconds: true }))
            : "never",
      },
      {
        title: "Captured",
        rare: true,
        num: true,
        cell: (one) => (one.capture_rate === null ? UNKNOWN : `${(100 * one.capture_rate).toFixed(2)} %`),
      },
    ],
    rows: providers,
  });
}
