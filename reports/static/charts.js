// Draws the charts whose specifications stand in the page as JSON. Runs before plotly.js is loaded.
"use strict";

// plotly.js writes its rules into <style> elements that it makes itself, which the content security policy forbids.
// It reuses an element that already has the expected id, so each gets a constructed style sheet, which the policy allows.
for (const placeholder of document.querySelectorAll("[data-chart-style]")) {
  placeholder.sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(placeholder.sheet);
}

const NARROW = 560; // CSS pixels
const TOKEN = /^var\((--[a-z0-9-]+)\)$/;

/** A copy of `value` in which every `var(--name)` is the colour of the present theme. */
function withColours(value, style) {
  if (Array.isArray(value)) return value.map((item) => withColours(item, style));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withColours(item, style)]));
  }
  const token = typeof value === "string" ? TOKEN.exec(value) : null;
  return token ? style.getPropertyValue(token[1]).trim() : value;
}

/** Thins the labels of a chart that is as narrow as a phone. */
function fitNarrow(data, layout) {
  if (layout.xaxis.type === "log") layout.xaxis.dtick = 1;
  for (const trace of data) trace.textfont = { size: 10 };
}

/** Draws one chart, or draws it again in other colours. */
function draw(element) {
  const spec = JSON.parse(document.getElementById(element.dataset.plot).textContent);
  const { data, layout } = withColours(spec, getComputedStyle(document.documentElement));
  // A finger that scrolls the page must not zoom the chart; the buttons above it still do.
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  const config = {
    responsive: true,
    displaylogo: false,
    // Named one by one: by default plotly.js adds a button that sends the chart to its maker's server.
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    showSendToCloud: false,
    plotlyServerURL: "",
  };
  const first = element.hidden;
  element.hidden = false;
  if (element.clientWidth < NARROW) fitNarrow(data, layout);
  Plotly.react(element, data, layout, config);
  if (first) {
    element.on("plotly_click", (event) => {
      const page = event.points[0].customdata;
      if (typeof page === "string") location.href = element.dataset.root + page;
    });
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const plots = Array.from(document.querySelectorAll("[data-plot]"));
  const redraw = () => plots.filter((plot) => !plot.hidden).forEach(draw);
  plots.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
});
