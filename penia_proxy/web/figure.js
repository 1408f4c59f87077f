/**
 * Show what has to be asked for.
 *
 * Its one job: a panel with its states: loading, there, empty, failed, and old (what was there before it failed). Rule:
 * what is shown came from the API; a failure is a sentence with a way to try again, never an empty panel.
 */

import { fill, freshId, h } from "./dom.js";
import { feed } from "./feed.js";
import { every } from "./timing.js";

const MINUTE_MS = 60_000;

/**
 * Return a panel: `{element, refresh, show}`.
 *
 * `load(signal)` asks, `draw(data)` returns what to show, or null or [] where there is nothing: then `empty` is shown.
 * `isHeld()` says whether something was typed there that asking again would take away.
 */
export function figure({
  title,
  load,
  draw,
  empty,
  signal,
  end = null,
  flush = false,
  lines = 3,
  level = "h2",
  wide = "",
  isHeld = () => false,
}) {
  const id = freshId("figure");
  const body = h("div", { class: flush ? "body flush" : "body" }, bones(lines));
  const trouble = h("div", { class: "trouble", role: "alert", hidden: true });
  const head = title && h("header", {}, h(level, { id }, title), end && h("div", { class: "end" }, end));
  const element = h(
    "section",
    { class: `panel ${wide}`, "aria-labelledby": title ? id : null, "data-state": "loading", "aria-busy": "true" },
    head,
    trouble,
    body,
  );
  let turn = 0;
  let hasData = false;
  let day = "";

  /** Show data that came another way than by `load`, e.g. by the live feed. */
  function show(data) {
    const drawn = draw(data);
    hasData = true;
    day = new Date().toDateString();
    trouble.hidden = true;
    const nothing = drawn === null || (Array.isArray(drawn) && drawn.length === 0);
    element.dataset.state = nothing ? "empty" : "there";
    fill(body, nothing ? h("p", { class: "nothing" }, empty) : drawn);
  }

  async function refresh() {
    const mine = (turn += 1);
    element.setAttribute("aria-busy", "true");
    try {
      const data = await load(signal);
      if (mine !== turn || signal.aborted) return;
      show(data);
    } catch (error) {
      if (mine !== turn || error.name === "AbortError") return;
      failed(error);
    }
    element.removeAttribute("aria-busy");
  }

  function failed(error) {
    if (error.status === undefined) console.error(error);
    // That nobody answers is said once, above all views, and what is here is asked for again when somebody does.
    if (error.status === 0 && hasData) return;
    element.dataset.state = hasData ? "stale" : "error";
    const said = error.status === undefined ? "This could not be shown." : error.message;
    trouble.hidden = false;
    // The heading of a card is part of what could not be had.
    fill(
      trouble,
      !title && !hasData && h("strong", {}, element.getAttribute("aria-label")),
      `${said}${hasData ? " What follows is from before." : ""}`,
      h("button", { onClick: refresh }, "Try again"),
    );
    if (!hasData) fill(body);
  }

  const again = () => isHeld() || refresh();
  feed.on("back", again, signal);
  // Instants of today are written without their day, which is another one from midnight on.
  every(MINUTE_MS, () => hasData && day !== new Date().toDateString() && again(), signal);
  refresh();
  return { element, refresh, show };
}

/** Return the shape of what is to come. */
export function bones(lines) {
  return h(
    "div",
    { class: "bones", "aria-hidden": "true" },
    Array.from({ length: lines }, () => h("i")),
  );
}
