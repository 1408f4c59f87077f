/**
 * Run the frame around the views.
 *
 * Its one job: the line on top: views with what waits in them, whether the figures are live, the theme; and the notice.
 */

import { get } from "./api.js";
import { fill, h, say } from "./dom.js";
import { feed } from "./feed.js";
import { when } from "./format.js";
import { throttled } from "./timing.js";

const STATES = {
  connecting: "Connecting",
  live: "Live",
  resuming: "Reconnecting",
  stale: "Not live",
  closed: "Closed",
};
const forever = new AbortController().signal;

export function startShell(views) {
  const links = new Map();
  const counts = new Map();
  for (const [name, { title }] of Object.entries(views)) {
    counts.set(name, h("span", { class: "count", hidden: true }));
    links.set(name, h("a", { href: `#/${name}` }, title, counts.get(name)));
  }
  fill(
    document.getElementById("nav"),
    [...links.values()].map((link) => h("li", {}, link)),
  );
  chooseTheme(document.getElementById("theme"));
  document.getElementById("skip").addEventListener("click", skip);
  showState();
  feed.on("state", showState, forever);
  feed.on("back", lookForUpdate, forever);
  countWaiting(counts);
  return {
    /** Mark the view that is shown. */
    mark(name) {
      for (const [one, link] of links) {
        if (one === name) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      bringIn(links.get(name));
    },
  };
}

/** Skip to the view; the address's fragment names views, so it cannot do that. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function chooseTheme(select) {
  select.value = document.documentElement.dataset.theme ?? "";
  select.addEventListener("change", () => {
    if (select.value) document.documentElement.dataset.theme = select.value;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem("penia.theme", select.value);
    } catch {
      // It holds for this page then.
    }
    document.dispatchEvent(new Event("theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    document.dispatchEvent(new Event("theme")),
  );
}

let before = null;

function showState() {
  const line = document.getElementById("live");
  line.dataset.state = feed.state === "live" ? "live" : feed.state === "stale" ? "stale" : "waiting";
  line.textContent = STATES[feed.state];
  const notice = document.getElementById("notice");
  document.getElementById("main").toggleAttribute("data-old", feed.state === "stale");
  if (feed.state === "stale") {
    const since = feed.lastHeard ? `The figures are those of ${when(feed.lastHeard, { seconds: true })}.` : "";
    notice.hidden = false;
    fill(notice, `Penia does not answer. ${since} Trying again.`);
  } else if (feed.isLive && before !== "live") {
    notice.hidden = true;
    if (before === "stale") say("Live again.");
  }
  before = feed.state;
}

/** After a restart another version may answer, whose files are not ours. */
async function lookForUpdate() {
  const ours = new URL(import.meta.url).pathname.split("/")[2];
  const page = await fetch("/", { cache: "no-store" }).catch(() => null);
  const theirs = page?.ok ? page.headers.get("ETag")?.replaceAll('"', "") : ours;
  if (theirs === ours) return;
  const notice = document.getElementById("notice");
  notice.hidden = false;
  fill(notice, "Penia has been updated.", h("button", { onClick: () => location.reload() }, "Load the new dashboard"));
}

/** Move the line of views, and nothing else, so that one of them is seen. */
function bringIn(link) {
  const line = link.closest("ul");
  const [frame, box] = [line.getBoundingClientRect(), link.getBoundingClientRect()];
  line.scrollLeft += Math.max(0, box.right - frame.right) - Math.max(0, frame.left - box.left);
}

function countWaiting(counts) {
  const line = document.getElementById("nav");
  const look = throttled(
    2_000,
    async () => {
      try {
        const unseen = { active: true, is_dismissed: false, acknowledged: false, limit: 1 };
        const [alerts, critical, requests] = await Promise.all([
          get("/api/v1/alerts", { query: unseen }),
          get("/api/v1/alerts", { query: { ...unseen, severity: "critical" } }),
          get("/api/v1/approvals", { query: { state: "pending", limit: 1 } }),
        ]);
        const width = line.scrollWidth;
        show(counts.get("alerts"), alerts.total, "not yet acknowledged");
        counts.get("alerts").dataset.severity = critical.total ? "critical" : "";
        show(counts.get("budgets"), requests.total, "to be answered");
        // What is counted makes the line longer, and the view that is marked would leave it.
        if (line.scrollWidth !== width) bringIn(line.querySelector("[aria-current]"));
      } catch {
        // The notice says that Penia does not answer.
      }
    },
    forever,
  );
  feed.on("alert back snapshot", look, forever);
  document.addEventListener("answered", look);
  look();
}

function show(element, number, what) {
  element.hidden = number === 0;
  fill(element, number > 99 ? "99+" : String(number), h("span", { class: "unseen" }, ` ${what}`));
}
