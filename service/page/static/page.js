// What makes the page live: events, refreshed parts, the forecast of a form, samples on a click, trial selections.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const $ = (selector, root) => (root || document).querySelector(selector);

  async function load(url, options) {
    const answer = await fetch(url, { credentials: "same-origin", ...options });
    if (answer.redirected && new URL(answer.url).pathname === "/sign-in") location.assign(answer.url);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  // Puts parts of a freshly loaded page into this one, by their ids. What is focused inside stays as it is.
  function swap(fresh, ids) {
    for (const id of ids) {
      const now = document.getElementById(id), next = fresh.getElementById(id);
      if (!now || !next || now.innerHTML === next.innerHTML || now.contains(document.activeElement)) continue;
      now.replaceWith(next);
      minirec.drawAll(next);
    }
  }

  function refreshing() {
    const live = $("[data-refresh]");
    if (!live) return;
    setTimeout(async () => {
      if (!document.hidden) {
        try { swap(await load(location.href), ["live"]); } catch { /* The service is away; the next time may find it. */ }
      }
      refreshing();
    }, 1000 * live.dataset.refresh);
  }

  function events() {
    const live = $("[data-events]");
    if (!live) return;
    const stream = new EventSource(live.dataset.events);
    let waiting = null;
    const soon = () => {
      waiting = waiting || setTimeout(async () => {
        waiting = null;
        try {
          const fresh = await load(location.href);
          if ($("[data-events]", fresh)) swap(fresh, ["live", "events"]);
          else { stream.close(); location.reload(); }
        } catch { soon(); }
      }, 400);
    };
    for (const type of ["status", "stage", "progress", "metrics", "evaluation", "warning", "retry", "error"]) stream.addEventListener(type, (event) => event.data && soon());
    soon();
  }

  function forecast() {
    const form = $("form[data-forecast]");
    if (!form) return;
    let waiting = null, asked = 0;
    const ask = () => {
      clearTimeout(waiting);
      waiting = setTimeout(async () => {
        const mine = ++asked;
        const fresh = await load(`/new?${new URLSearchParams(new FormData(form))}`);
        if (mine === asked) { swap(fresh, ["forecast"]); copying(); }
      }, 350);
    };
    form.addEventListener("input", ask);
    ask();
  }

  function copying() {
    document.querySelectorAll("[data-copy]").forEach((button) => {
      button.hidden = false;
      button.onclick = async () => {
        const text = document.getElementById(button.dataset.copy);
        try { await navigator.clipboard.writeText(text.textContent); button.textContent = "Copied"; }
        catch { getSelection().selectAllChildren(text); button.textContent = "Press Ctrl-C"; }
      };
    });
  }

  function samples() {
    const panel = $("#sample-panel");
    if (!panel) return;
    document.addEventListener("sample", async (event) => {
      const found = (await load(event.detail)).getElementById("sample");
      if (!found) return;
      const link = document.createElement("a");
      link.href = event.detail; link.textContent = "On a page of its own";
      panel.replaceChildren(found, link);
      panel.hidden = false;
      panel.scrollIntoView({ behavior: "smooth", block: "nearest" });
    });
    document.addEventListener("lasso", (event) => {
      const { ids, picks, mean, url } = event.detail;
      const title = document.createElement("h2"), list = document.createElement("p");
      title.textContent = `${ids.length} samples, ${picks} picked, mean reward ${minirec.short(mean)}`;
      for (const id of ids.slice(0, 200)) {
        const link = document.createElement("a");
        link.href = url + encodeURIComponent(id); link.textContent = id;
        list.append(link, " ");
      }
      if (ids.length > 200) list.append(`and ${ids.length - 200} more`);
      panel.replaceChildren(title, list);
      panel.hidden = !ids.length;
    });
  }

  // A trial is a selection from the same scores; the page deletes it when the next one is there, or when it is left.
  function again() {
    const form = $("form[data-again]");
    if (!form) return;
    const base = JSON.parse($("script[data-request]", form).textContent), note = $("#trial");
    let trial = null, waiting = null, asked = 0;
    const drop = (id) => id && fetch(`/v1/selections/${id}`, { method: "DELETE", keepalive: true, credentials: "same-origin" });
    const number = (name) => { const text = form.elements[name].value.trim(); return text === "" ? undefined : Number(text); };
    const request = () => {
      const weights = { ...(base.weights || {}) };
      for (const name of ["alpha", "mu"]) if (number(name) !== undefined) weights[name] = number(name);
      weights.gate = { ...(weights.gate || {}), enabled: form.elements.gate.checked };
      if (number("too_easy_reward") !== undefined) weights.gate.too_easy_reward = number("too_easy_reward");
      const size = form.elements.size.value.trim();
      return { ...base, weights, size: size.endsWith("%") ? Number(size.slice(0, -1)) / 100 : Number(size), metadata: { trial_of: form.dataset.again } };
    };
    const run = async () => {
      const mine = ++asked;
      note.textContent = "choosing …";
      const answer = await fetch("/v1/selections", { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request()) });
      let job = await answer.json();
      if (!answer.ok) { note.textContent = job.detail; return; }
      while (["queued", "running"].includes(job.status)) {
        job = await (await fetch(`/v1/selections/${job.id}?wait=10`, { credentials: "same-origin" })).json();
        if (mine !== asked) break;
      }
      if (mine !== asked) { if (["queued", "running"].includes(job.status)) await fetch(`/v1/selections/${job.id}/cancel`, { method: "POST", credentials: "same-origin" }); drop(job.id); return; }
      if (job.status !== "succeeded") { note.textContent = job.error ? job.error.message : job.status; drop(job.id); return; }
      swap(await load(`/jobs/${job.id}`), ["explained"]);
      note.textContent = `shown above: ${job.result.selected} samples, mean reward ${minirec.short(job.result.selected_reward_mean)}`;
      drop(trial);
      trial = job.id;
    };
    const soon = () => { clearTimeout(waiting); waiting = setTimeout(() => run().catch((error) => { note.textContent = String(error); }), 300); };
    form.querySelectorAll("input[type=range]").forEach((slider) => {
      const field = form.elements[slider.dataset.for];
      slider.hidden = false;
      slider.addEventListener("input", () => { field.value = slider.value; });
      field.addEventListener("input", () => { slider.value = field.value; });
    });
    form.addEventListener("input", soon);
    addEventListener("pagehide", () => drop(trial));
  }

  document.querySelectorAll("form[data-confirm]").forEach((form) => form.addEventListener("submit", (event) => { if (!confirm(form.dataset.confirm)) event.preventDefault(); }));
  refreshing(); events(); forecast(); copying(); samples(); again();
})();
