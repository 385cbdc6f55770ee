// Draws what the page says in JSON: histograms, scatters, lines. Everything here is in a table on the page as well.
(() => {
  "use strict";
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const size = (box) => ({ width: Math.max(220, box.clientWidth), height: box.classList.contains("tall") ? 340 : 220 });
  const short = (value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(3).replace(/\.?0+$/, ""));

  function axes(labels) {
    const [x, y] = labels || [];
    const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line"), width: 1 } };
    return [{ ...axis, label: x, labelSize: x ? 18 : 0, size: 30 }, { ...axis, label: y, labelSize: y ? 18 : 0, size: 54 }];
  }

  function draw(box, options, data) {

    box.replaceChildren();
    const plot = new uPlot({ ...size(box), legend: { show: false }, cursor: { show: false }, ...options }, data, box);
    new ResizeObserver(() => {
      const now = size(box);
      if (now.width !== plot.width) plot.setSize(now);
    }).observe(box);
    return plot;
  }

  function bars(box, edges, layers, labels) {
    const middle = edges.slice(1).map((edge, n) => (edge + edges[n]) / 2);
    const width = edges[1] - edges[0];
    const series = layers.map(({ fill, part }) => ({
      fill: color(fill), stroke: color(fill), width: 0, points: { show: false },
      paths: uPlot.paths.bars({ size: [part || 0.94, 1000] }),
    }));
    draw(box, {
      scales: { x: { time: false, range: [edges[0] - width / 4, edges[edges.length - 1] + width / 4] }, y: { range: (_, low, high) => [0, high * 1.05 || 1] } },
      axes: axes(labels),
      series: [{}, ...series],
    }, [middle, ...layers.map(({ values }) => values)]);
  }

  function rewards(box, data) {
    const { edges, counts } = data.rewards;
    const whole = edges.slice(1).map((_, n) => counts.open[n] + counts.too_hard[n] + counts.too_easy[n] + counts.no_spread[n]);
    const gated = whole.map((count, n) => count - counts.open[n]);
    // Open samples stand on those that the gate set aside.
    bars(box, edges, [{ fill: "bar", values: whole }, { fill: "grey", values: gated }, { fill: "accent", values: counts.picked, part: 0.4 }], ["mean reward", "samples"]);
  }

  function alignment(box, data) {
    if (!data.alignment) return;
    const { edges, counts } = data.alignment;
    const share = (values) => {
      const all = values.reduce((sum, value) => sum + value, 0) || 1;
      return values.map((value) => value / all);
    };
    bars(box, edges, [{ fill: "bar", values: share(counts.pool) }, { fill: "accent", values: share(counts.picked), part: 0.4 }], ["R", "share"]);
  }

  function curriculum(box, data) {
    const steps = data.curriculum;
    const rewards = steps.map((step) => step.reward);
    draw(box, {
      scales: { x: { time: false } },
      axes: axes(["place in training", "mean reward"]),
      series: [{}, { stroke: color("accent"), width: 1.5, points: { show: steps.length < 130, size: 5, fill: color("accent") } }],
    }, [steps.map((step) => step.position + 1), rewards]);
  }

  function inside(polygon, x, y) {
    let found = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [ax, ay] = polygon[i], [bx, by] = polygon[j];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) found = !found;
    }
    return found;
  }

  function scatter(box, data, xs, ys, labels) {
    const points = data.points;
    const order = xs.map((_, n) => n).sort((a, b) => xs[a] - xs[b]);
    const x = order.map((n) => xs[n]);
    const of = (picked) => order.map((n) => (n < points.picked === picked ? ys[n] : null));
    const dots = (name, width) => ({ paths: () => null, points: { show: true, size: width, fill: color(name), stroke: color(name), width: 0 } });
    const padded = (_, low, high) => { const room = (high - low || 1) * 0.04; return [low - room, high + room]; };
    const plot = draw(box, {
      scales: { x: { time: false, range: padded }, y: { range: padded } },
      axes: axes(labels),
      series: [{}, dots("bar", 4), dots("accent", 6)],
      cursor: { drag: { x: false, y: false }, points: { show: false }, x: false, y: false },
    }, [x, of(false), of(true)]);
    select(box, plot, data, order, xs, ys);
  }

  // Click, lasso and keyboard over a scatter.
  function select(box, plot, data, order, xs, ys) {
    const points = data.points, over = plot.over, tip = document.createElement("div"), canvas = document.createElement("canvas");
    tip.className = "tip"; canvas.className = "lasso";
    over.append(canvas); box.append(tip);
    const place = (n) => [plot.valToPos(xs[n], "x"), plot.valToPos(ys[n], "y")];
    const nearest = (left, top) => {
      let best = null, least = 144;
      for (let n = 0; n < xs.length; n++) {
        const [x, y] = place(n), far = (x - left) ** 2 + (y - top) ** 2;
        if (far < least) [best, least] = [n, far];
      }
      return best;
    };
    const pen = () => {
      canvas.width = over.clientWidth; canvas.height = over.clientHeight;
      const context = canvas.getContext("2d");
      context.strokeStyle = color("text"); context.lineWidth = 1.5;
      return context;
    };
    const mark = (n) => {
      const context = pen();
      if (n === null) { tip.textContent = ""; return; }
      const [x, y] = place(n);
      context.beginPath(); context.arc(x, y, 6, 0, 7); context.stroke();
      tip.textContent = `${points.ids[n]}${n < points.picked ? `, pick ${data.points.picked < data.funnel.picked ? "" : n + 1}` : ""}: reward ${short(points.reward[n])}`;
    };
    const open = (n) => data.sample_url && box.dispatchEvent(new CustomEvent("sample", { bubbles: true, detail: data.sample_url + encodeURIComponent(points.ids[n]) }));
    let path = null;
    const at = (event) => { const edge = over.getBoundingClientRect(); return [event.clientX - edge.left, event.clientY - edge.top]; };
    over.addEventListener("pointerdown", (event) => { path = [at(event)]; if (event.pointerType === "mouse") over.setPointerCapture(event.pointerId); });
    over.addEventListener("pointermove", (event) => {
      if (!path) { mark(nearest(...at(event))); return; }
      path.push(at(event));
      const context = pen();
      context.beginPath(); path.forEach(([x, y]) => context.lineTo(x, y)); context.closePath();
      context.globalAlpha = 0.12; context.fillStyle = color("accent"); context.fill(); context.globalAlpha = 1; context.stroke();
    });
    over.addEventListener("pointercancel", () => { path = null; });
    over.addEventListener("pointerup", (event) => {
      if (!path) return;
      const [left, top] = at(event), drawn = path;
      path = null;
      const reach = Math.max(...drawn.map(([x, y]) => Math.hypot(x - drawn[0][0], y - drawn[0][1])));
      if (reach < 8) {
        const n = nearest(left, top);
        mark(n);
        if (n !== null) open(n);
        return;
      }
      const found = xs.map((_, n) => n).filter((n) => inside(drawn, ...place(n)));
      const picks = found.filter((n) => n < points.picked).length;
      const mean = found.reduce((sum, n) => sum + points.reward[n], 0) / (found.length || 1);
      tip.textContent = `${found.length} samples, ${picks} picked, mean reward ${short(mean)}`;
      box.dispatchEvent(new CustomEvent("lasso", { bubbles: true, detail: { ids: found.map((n) => points.ids[n]), picks, mean, url: data.sample_url } }));
    });
    over.addEventListener("pointerleave", () => { if (!path) mark(null); });
    let current = -1;
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (step) {
        current = (current + step + order.length) % order.length;
        mark(order[current]); event.preventDefault();
      } else if (event.key === "Enter" && current >= 0) open(order[current]);
    });
    tip.setAttribute("aria-live", "polite");
  }

  const KINDS = {
    rewards, alignment, curriculum,
    scatter: (box, data) => scatter(box, data, data.points.learnability, data.points.representativeness || data.points.reward, ["L", data.points.representativeness ? "R" : "mean reward"]),
    map: (box, data) => data.points.map_x && scatter(box, data, data.points.map_x, data.points.map_y, ["first direction", "second"]),
  };

  function drawAll(root) {
    if (typeof uPlot === "undefined") return; // It does not start in every browser; the tables are there.
    const source = root.querySelector("script[data-charts]");
    if (source) {
      const data = JSON.parse(source.textContent);
      root.querySelectorAll("[data-chart]").forEach((box) => KINDS[box.dataset.chart](box, data));
    }
    const curves = root.querySelector("script[data-curves]");
    if (curves) {
      const data = JSON.parse(curves.textContent);
      root.querySelectorAll("[data-curve]").forEach((box) => draw(box, {
        scales: { x: { time: false } }, axes: axes(["update"]),
        series: [{}, { stroke: color("accent"), width: 1.5, points: { show: data.updates.length < 60, size: 4 } }],
      }, [data.updates, data.series[box.dataset.curve]]));
    }
  }

  window.minirec = { drawAll, short };
  drawAll(document);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
})();
