// Replaces the live part of the status page every two seconds, and says loudly when it can't:
// a stale page must never look like a quiet cluster.
"use strict";

const EVERY_MS = 2000;
const GIVE_UP_MS = 5000;
let answered = new Date();

const utc = (date) => date.toISOString().slice(11, 19);

function note(text) {
  const line = document.getElementById("stale");
  if (line.textContent === text) return;
  line.textContent = text;
  line.hidden = !text;
  document.getElementById("live").classList.toggle("old", Boolean(text));
}

function replace(html) {
  const live = document.getElementById("live");
  const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  live.innerHTML = html;
  document.title = live.querySelector("[data-title]").dataset.title;
  if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

async function refresh() {
  try {
    const response = await fetch("/fragment", { signal: AbortSignal.timeout(GIVE_UP_MS) });
    if (!response.ok) throw new Error(response.statusText);
    const html = await response.text();
    answered = new Date();
    const reading = !window.getSelection().isCollapsed;
    if (!reading) replace(html);
    note(reading ? "Paused while text is selected." : "");
  } catch {
    note(`The controller has not answered since ${utc(answered)} UTC: what follows is old.`);
  }
  setTimeout(refresh, EVERY_MS);
}

setTimeout(refresh, EVERY_MS);
