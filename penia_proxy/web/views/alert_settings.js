/**
 * Say which alerts there are, and who is told.
 *
 * Its one job: the form of `/api/v1/alerts/settings`, and a trial of its channels. Secrets are written and never shown.
 */

import { get, post, put } from "../api.js";
import { action, checkbox, choice, field } from "../controls.js";
import { h, say } from "../dom.js";
import { figure } from "../figure.js";

const FORMATS = [
  ["json", "JSON, signed"],
  ["slack", "Slack"],
];

export function alertSettings({ signal }) {
  let isTyped = false;
  const panel = figure({
    title: "Which alerts, and who is told",
    load: (stop) => get("/api/v1/alerts/settings", { signal: stop }),
    draw(settings) {
      isTyped = false;
      return form(settings, panel);
    },
    isHeld: () => isTyped,
    signal,
    lines: 8,
  });
  for (const name of ["input", "click"])
    panel.element.addEventListener(name, (event) => (isTyped ||= event.target.closest("form") !== null), true);
  return panel.element;
}

function form(settings, panel) {
  const thresholds = field({
    label: "Thresholds, % of a limit",
    value: settings.thresholds.join(", "),
    hint: "One alert each, once per window.",
    inputmode: "decimal",
  });
  const kinds = {
    forecast: checkbox("A limit that will be reached before its window ends", settings.forecast),
    anomaly: checkbox("A component that spends far more than it does", settings.anomaly),
    unpriced: checkbox("A model without a known price", settings.unpriced),
    log: checkbox("Write them to the log, too", settings.log),
  };
  const least = choice(
    [
      ["info", "all"],
      ["warning", "warnings and worse"],
      ["critical", "critical only"],
    ],
    settings.least_severity,
  );
  const mail = settings.email && mailFields(settings.email);
  const hooks = hookFields(settings.webhooks);
  const refused = settings.warnings.map((one) => `${one.field} was changed, and does not count: ${one.message}.`);
  const problem = h("p", { class: "form-wrong", role: "alert" }, refused.join(" "));
  const button = h("button", { type: "submit", class: "first" }, "Save");

  function read() {
    const numbers = thresholds.value
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map(Number);
    const apart = new Set(numbers.map((one) => one.toFixed(2))).size === numbers.length;
    const bad = numbers.length === 0 || !apart || numbers.some((one) => !(one >= 0.1 && one <= 1000));
    thresholds.wrong(bad ? "Numbers from 0.1 to 1000, no two alike, such as 50, 80, 90, 100." : null);
    const switches = Object.fromEntries(Object.entries(kinds).map(([name, { input }]) => [name, input.checked]));
    return bad
      ? null
      : {
          thresholds: numbers,
          ...switches,
          least_severity: least.value,
          ...(mail ? { email: mail.read() } : {}),
          webhooks: hooks.read(),
        };
  }

  async function save(event) {
    event.preventDefault();
    const body = read();
    if (body === null) return thresholds.input.focus();
    button.disabled = true;
    problem.textContent = "";
    try {
      panel.show(await put("/api/v1/alerts/settings", body));
      say("The settings are saved.");
    } catch (error) {
      problem.textContent = [
        error.message,
        ...[...(error.fields ?? [])].map(([name, sentence]) => `${name}: ${sentence}.`),
      ].join(" ");
    } finally {
      button.disabled = false;
    }
    return undefined;
  }
  thresholds.input.addEventListener("input", read);
  return h(
    "form",
    { class: "stack", novalidate: true, onSubmit: save },
    thresholds.element,
    h(
      "div",
      { role: "group", "aria-label": "Which alerts" },
      Object.values(kinds).map(({ element }) => element),
    ),
    field({ label: "Who is told, is told of", control: least }).element,
    mail ? mail.element : h("p", { class: "small muted" }, "Mail needs a server: alerts.email in config.yaml."),
    hooks.element,
    problem,
    h("div", { class: "form-end" }, button, trial(problem)),
  );
}

function mailFields(mail) {
  const to = field({ label: "Mail to", value: mail.to.join(", ") });
  const from = field({ label: "From", value: mail.from });
  const digest = choice(
    [
      ["immediate", "at once"],
      ["daily", "once a day"],
      ["weekly", "on Mondays"],
    ],
    mail.digest,
  );
  const hour = field({ label: "Digest at hour (UTC)", value: mail.digest_hour, inputmode: "numeric" });
  return {
    element: h(
      "div",
      { class: "columns" },
      to.element,
      from.element,
      field({ label: "When", control: digest }).element,
      hour.element,
    ),
    read: () => ({
      to: to.value.split(/[\s,;]+/).filter(Boolean),
      from: from.value,
      digest: digest.value,
      digest_hour: Number(hour.value),
    }),
  };
}

function hookFields(webhooks) {
  const list = h("div", { class: "stack" });
  const rows = [];
  function add({ name, url, format, secret_set: hasSecret }) {
    const row = {
      name: field({ label: "Webhook", value: name }),
      url: field({ label: "Address", value: url, placeholder: "where it is sent" }),
      format: choice(FORMATS, format),
      secret: field({
        label: "Secret",
        type: "password",
        placeholder: hasSecret ? "as it was" : "none",
        autocomplete: "new-password",
      }),
    };
    row.element = h(
      "div",
      { class: "columns hook", role: "group", "aria-label": `Webhook ${name}` },
      row.name.element,
      row.url.element,
      field({ label: "Format", control: row.format }).element,
      row.secret.element,
      h("div", { class: "field" }, h("button", { type: "button", class: "plain", onClick: () => gone(row) }, "Remove")),
    );
    rows.push(row);
    list.append(row.element);
    return row;
  }
  function gone(row) {
    rows.splice(rows.indexOf(row), 1);
    row.element.remove();
    more.focus();
  }
  webhooks.forEach(add);
  const blank = { name: "webhook", url: "", format: "json", secret_set: false };
  const more = h("button", { type: "button", onClick: () => add(blank).url.input.focus() }, "Add a webhook");
  return {
    element: h("div", { class: "stack" }, list, h("div", {}, more)),
    read: () =>
      rows.map(({ name, url, format, secret }) => ({
        name: name.value,
        url: url.value,
        format: format.value,
        ...(secret.value ? { secret: secret.value } : {}),
      })),
  };
}

function trial(problem) {
  const said = h("span", { class: "small", role: "status" });
  const button = action(
    "Send a trial",
    async () => {
      said.textContent = "";
      const { channels } = await post("/api/v1/alerts/settings/test");
      const told = Object.entries(channels).map(([name, why]) => `${name}: ${why ?? "sent"}`);
      said.textContent = told.join("; ") || "There is no channel yet.";
    },
    { onError: (error) => (problem.textContent = error.message) },
  );
  return [button, said];
}
