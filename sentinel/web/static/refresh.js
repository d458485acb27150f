// Shows what the controller streams; where a proxy holds the stream back, asks every two seconds instead.
// Says loudly when neither works: a stale page must never look like a quiet cluster.
"use strict";

const EVERY_MS = 2000;
const GIVE_UP_MS = 5000;
let answered = Date.now();
let stream = null;

const utc = (time) => new Date(time).toISOString().slice(11, 19);

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
  const title = live.querySelector("[data-title]").dataset.title;
  if (title !== document.title) document.getElementById("said").textContent = title; // what is read aloud
  document.title = title;
  if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function show(html) {
  answered = Date.now();
  const reading = !window.getSelection().isCollapsed;
  if (!reading) replace(html);
  note(reading ? "Paused while text is selected." : "");
}

async function ask() {
  const response = await fetch("/fragment", { signal: AbortSignal.timeout(GIVE_UP_MS) });
  if (!response.ok) throw new Error(response.statusText);
  show(await response.text());
}

function listen() {
  stream?.close();
  stream = document.hidden ? null : new EventSource("/events"); // a browser has few connections for all its tabs
  if (stream) stream.onmessage = (event) => show(event.data);
}

async function watch() {
  if (!document.hidden && Date.now() - answered > EVERY_MS) {
    try {
      await ask();
      if (stream?.readyState === EventSource.CLOSED) listen();
    } catch {
      note(`The controller has not answered since ${utc(answered)} UTC: what follows is old.`);
    }
  }
  setTimeout(watch, EVERY_MS);
}

document.documentElement.classList.toggle("wall", new URLSearchParams(location.search).has("wall"));
document.addEventListener("visibilitychange", listen);
listen();
setTimeout(watch, EVERY_MS);
