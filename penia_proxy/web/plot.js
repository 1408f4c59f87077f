/**
 * Load Plotly, and draw with it.
 *
 * Its one job: Plotly's script when the first chart is wanted, charts in the page's own colours, which follow the
 * theme. Rules: text comes from the page's figures and never from callers' names, since Plotly reads some markup in
 * text.
 */

import { h } from "./dom.js";

let loading = null;

function load() {
  loading ??= idle().then(fetched);
  loading.catch(() => (loading = null));
  return loading;
}

/** Wait until the figures are there: to run Plotly's script takes a second in which nothing else is drawn. */
function idle() {
  return new Promise((resolve) => {
    if (window.requestIdleCallback) requestIdleCallback(resolve, { timeout: 2_000 });
    else setTimeout(resolve, 300);
  });
}

function fetched() {
  return new Promise((resolve, reject) => {
    const script = h("script", { src: new URL("./plotly.min.js", import.meta.url).href });
    const create = document.createElement;
    // Plotly, and MapLibre within it, add their style sheets as inline elements as soon as they are loaded; our policy
    // refuses that, and the console would report it. They get elements that style nothing: what a chart needs of them
    // is in charts.css.
    document.createElement = function (tag, options) {
      return create.call(this, tag === "style" ? "template" : tag, options);
    };
    const done = (settle) => () => {
      delete document.createElement;
      settle();
    };
    script.addEventListener(
      "load",
      done(() => resolve(window.Plotly)),
    );
    script.addEventListener(
      "error",
      done(() => reject(new Error("Plotly could not be loaded"))),
    );
    document.head.append(script);
  });
}

/** Return the value that a colour token has in the theme of this moment. */
export function colour(token) {
  const probe = h("i", { style: { color: `var(--${token})` }, hidden: true });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Return a colour with an opacity. */
export function washed(token, opacity) {
  const [red, green, blue] = colour(token).match(/[\d.]+/g);
  return `rgba(${red}, ${green}, ${blue}, ${opacity})`;
}

function layoutOf(own) {
  const axis = {
    gridcolor: colour("grid"),
    linecolor: colour("line"),
    zeroline: false,
    fixedrange: true,
    automargin: true,
  };
  return {
    ...own,
    autosize: true,
    margin: { l: 8, r: 12, t: 10, b: 8 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    dragmode: false,
    hovermode: "x unified",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("muted") },
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink") } },
    xaxis: { ...axis, showgrid: false, ...own.xaxis },
    yaxis: { ...axis, tickprefix: "$", rangemode: "tozero", ...own.yaxis },
  };
}

/**
 * Draw a chart into an element, until the signal.
 *
 * `make()` returns `{traces, layout}` and is asked again when the theme changes. Returns a function that draws anew.
 */
export function plot(element, make, signal) {
  let plotly = null;
  const draw = () => {
    if (plotly === null || signal.aborted) return;
    const { traces, layout } = make();
    const drawn = plotly.react(element, traces, layoutOf(layout), { displayModeBar: false, responsive: false });
    drawn.then(() => element.classList.remove("wait"));
  };
  document.addEventListener("theme", draw, { signal });
  const sized = new ResizeObserver(() => plotly && element.isConnected && plotly.Plots.resize(element));
  signal.addEventListener("abort", () => {
    sized.disconnect();
    if (plotly !== null) plotly.purge(element);
  });
  load().then(
    (loaded) => {
      if (signal.aborted) return;
      plotly = loaded;
      element.replaceChildren();
      draw();
      sized.observe(element);
    },
    () =>
      element.replaceChildren(h("span", { class: "muted" }, "The chart could not be loaded; its figures are below.")),
  );
  return draw;
}
