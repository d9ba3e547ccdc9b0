"use strict";
(() => {
  const { figures, dark } = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll("[data-figure]")];
  const root = document.documentElement;
  const screenIsDark = matchMedia("(prefers-color-scheme: dark)");
  // Widths of pictures on A4 or Letter paper in CSS pixels: a page learns its paper's width only after it has drawn.
  const PAPER = { whole: 690, column: 335 };
  const hiddenRuns = new Set();
  const shownSeries = {};
  let chosen = null;
  let printing = false;

  const theme = () => (printing ? "light" : chosen || (screenIsDark.matches ? "dark" : "light"));
  const shade = (color) => (theme() === "dark" && dark[color]) || color;
  const recolored = (value) => {
    if (typeof value === "string") return shade(value);
    if (Array.isArray(value)) return value.map(recolored);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, recolored(inner)]));
    return value;
  };

  const seriesShown = (id, series) => {
    const chips = document.querySelector(`[data-legend="${id}"]`);
    return !chips || !(series in shownSeries[id]) || shownSeries[id][series];
  };
  const runOf = (name) => (/^run \d+$/.test(name || "") ? Number(name.slice(4)) : null);

  const fitLabels = (layout, width) => {
    const axis = layout.xaxis.range;
    const letter = 6.4;
    for (const label of layout.annotations || []) {
      const bounds = /^phase (\d+) (\d+)$/.exec(label.name || "");
      if (!bounds) continue;
      const room = ((bounds[2] - bounds[1]) / (axis[1] - axis[0])) * width;
      const name = label.hovertext.split(" · ")[0];
      label.text = [label.hovertext, name].find((text) => text.length * letter < room) || "";
    }
  };

  const drawn = (plot) => {
    const id = plot.dataset.figure;
    const style = getComputedStyle(root);
    const color = (name) => style.getPropertyValue(name).trim();
    const data = recolored(figures[id].data).map((trace) => ({
      ...trace,
      visible: !hiddenRuns.has(trace.meta.run) && seriesShown(id, trace.meta.series),
    }));
    const layout = recolored(figures[id].layout);
    const axisLook = { gridcolor: color("--rule"), linecolor: color("--rule"), color: color("--soft"), tickcolor: color("--rule") };
    for (const name of ["xaxis", "yaxis", "yaxis2"]) if (layout[name]) layout[name] = { ...axisLook, ...layout[name] };
    Object.assign(layout, {
      autosize: true,
      paper_bgcolor: color("--page"),
      plot_bgcolor: color("--page"),
      font: { ...layout.font, family: getComputedStyle(document.body).fontFamily, color: color("--text") },
      hoverlabel: { bgcolor: color("--panel"), bordercolor: color("--rule"), font: { color: color("--text"), size: 12 }, namelength: -1 },
      shapes: (layout.shapes || []).map((shape) => ({ ...shape, visible: !hiddenRuns.has(runOf(shape.name)) })),
    });
    for (const label of layout.annotations || []) label.font = { ...label.font, color: color("--soft") };
    if (printing) {
      layout.autosize = false;
      layout.width = plot.closest(".grid").classList.contains("one") ? PAPER.whole : PAPER.column;
      layout.height = plot.clientHeight;
    }
    const width = (layout.width || plot.clientWidth) - layout.margin.l - layout.margin.r;
    fitLabels(layout, width);
    if (width < 320 && layout.xaxis.nticks) layout.xaxis.nticks = 5;
    return { data, layout };
  };

  const config = { responsive: false, displaylogo: false, displayModeBar: false };
  const draw = (plot) => {
    const { data, layout } = drawn(plot);
    Plotly.react(plot, data, layout, config);
  };
  const drawAll = () => {
    root.dataset.theme = theme();
    for (const swatch of document.querySelectorAll("[data-color]")) {
      if (swatch instanceof SVGElement) swatch.style.stroke = shade(swatch.dataset.color);
      else swatch.style.background = shade(swatch.dataset.color);
    }
    plots.forEach(draw);
  };

  for (const legend of document.querySelectorAll("[data-legend]")) {
    const id = legend.dataset.legend;
    shownSeries[id] = {};
    for (const chip of legend.querySelectorAll("[data-series]")) {
      shownSeries[id][chip.dataset.series] = chip.getAttribute("aria-pressed") === "true";
      chip.addEventListener("click", () => {
        const on = (shownSeries[id][chip.dataset.series] = !shownSeries[id][chip.dataset.series]);
        chip.setAttribute("aria-pressed", on);
        draw(document.getElementById(`figure-${id}`));
      });
    }
  }
  for (const chip of document.querySelectorAll("[data-run]")) {
    chip.addEventListener("click", () => {
      const run = Number(chip.dataset.run);
      if (!hiddenRuns.delete(run)) hiddenRuns.add(run);
      chip.setAttribute("aria-pressed", !hiddenRuns.has(run));
      drawAll();
    });
  }
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => {
      const id = button.dataset.save;
      Plotly.downloadImage(document.getElementById(`figure-${id}`), { format: "png", filename: id, width: 900, height: 450, scale: 2 });
    });
  }
  document.getElementById("theme").addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    drawAll();
  });
  screenIsDark.addEventListener("change", drawAll);
  const widths = new WeakMap();
  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (widths.get(target) === target.clientWidth) continue;
      widths.set(target, target.clientWidth);
      draw(target);
    }
  });
  const print = (now) => { printing = now; drawAll(); };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));

  root.dataset.theme = theme();
  drawAll();
  for (const plot of plots) { widths.set(plot, plot.clientWidth); watcher.observe(plot); }
})();
