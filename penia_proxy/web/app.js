/**
 * Run the dashboard.
 *
 * Its one job: show the view of the address, and end the one before it. The first one is loaded before the others.
 */

import { fill, h, say } from "./dom.js";
import { feed } from "./feed.js";
import { here } from "./router.js";
import { startShell } from "./shell.js";

const VIEWS = {
  overview: { title: "Overview", load: () => import("./views/overview.js") },
  usage: { title: "Usage", load: () => import("./views/usage.js") },
  budgets: { title: "Budgets", load: () => import("./views/budgets.js") },
  alerts: { title: "Alerts", load: () => import("./views/alerts.js") },
  models: { title: "Models", load: () => import("./views/models.js") },
  settings: { title: "Settings", load: () => import("./views/settings.js") },
};

const main = document.getElementById("main");
const shell = startShell(VIEWS);
let shown = new AbortController();
let isFirst = true;

async function show() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const route = here();
  const name = route.name in VIEWS ? route.name : "overview";
  shell.mark(name);
  try {
    const { view } = await VIEWS[name].load();
    if (signal.aborted) return;
    const { title, elements } = view({ route, signal });
    fill(main, elements);
    main.dataset.route = [route.name, ...route.parts].join("/");
    document.title = `${title} · Penia`;
    if (!isFirst) {
      say(title);
      main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    isFirst = false;
  } catch (error) {
    if (signal.aborted) return;
    console.error(error);
    feed.on("back", show, signal);
    const again = h("button", { onClick: () => location.reload() }, "Load the page again");
    fill(main, h("p", { class: "wait" }, "This view could not be loaded; Penia may have been updated. ", again));
  }
}

addEventListener("hashchange", show);
feed.start();
// The other views, too: what is here need not be had from a gateway that is gone, or that has become another version.
show().then(() => Promise.allSettled(Object.values(VIEWS).map(({ load }) => load())));
