// The page's live side: swaps server-rendered regions as they arrive, ticks countdowns, pauses, switches.
// Every instant is compared with the server's clock, never with this machine's.

const STALE_MS = 5000; // the server speaks at least every 2 s
const words = document.body.dataset;
const regions = new Map([...document.querySelectorAll("[data-region]")].map((e) => [e.dataset.region, e]));
const held = new Map(); // region → newest HTML that came while it was paused (null: nothing came)
let ahead = Date.parse(words.now) - Date.now(); // server clock minus ours
let heardAt = null;

const serverNow = () => Date.now() + ahead;

/** Return a duration as `m:ss`, `h:mm:ss` or `3d 4:05:06`. */
function duration(ms) {
  const seconds = Math.floor(Math.abs(ms) / 1000);
  const [s, m, h, d] = [seconds % 60, Math.floor(seconds / 60) % 60, Math.floor(seconds / 3600) % 24, Math.floor(seconds / 86400)];
  const two = (n) => String(n).padStart(2, "0");
  const clock = d || h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  return d ? `${d}${words.day} ${clock}` : clock;
}

const say = (pattern, ms) => pattern.replace("{t}", duration(ms));

/** Write what changes by the passing of time alone into one region. */
function tick(region) {
  const now = serverNow();
  for (const e of region.querySelectorAll("[data-until]")) {
    const left = Date.parse(e.dataset.until) - now;
    e.textContent = left >= 0 ? say(words.left, left) : say(words.late, -left);
  }
  for (const e of region.querySelectorAll("[data-since]")) {
    e.textContent = say(words.ago, Math.max(0, now - Date.parse(e.dataset.since)));
  }
  for (const e of region.querySelectorAll("progress[data-from]")) {
    const [from, to] = [Date.parse(e.dataset.from), Date.parse(e.dataset.to)];
    e.value = Math.min(1, Math.max(0, (now - from) / (to - from)));
  }
}

/** Put new HTML into a region; whoever has the focus inside keeps it. */
function swap(name, html) {
  const region = regions.get(name);
  const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
  region.innerHTML = html;
  tick(region);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function receive(event) {
  const update = JSON.parse(event.data);
  heardAt = Date.now();
  ahead = Date.parse(update.now) - heardAt;
  for (const [name, html] of Object.entries(update.regions)) {
    if (held.has(name)) held.set(name, html);
    else swap(name, html);
  }
  showLink();
}

/** Say whether what is shown is live, and if not, how old it is. */
function showLink() {
  const age = heardAt === null ? 0 : Date.now() - heardAt;
  const isStale = age > STALE_MS;
  const link = document.getElementById("link");
  document.body.classList.toggle("is-stale", isStale);
  link.classList.toggle("is-live", heardAt !== null && !isStale);
  if (heardAt !== null) link.lastElementChild.textContent = isStale ? say(words.stale, age) : words.live;
}

function togglePause(button) {
  const name = button.dataset.pause;
  const pausing = !held.has(name);
  button.setAttribute("aria-pressed", String(pausing));
  regions.get(name).closest("section").classList.toggle("is-paused", pausing);
  if (pausing) return held.set(name, null);
  const html = held.get(name);
  held.delete(name);
  if (html !== null) swap(name, html);
}

function showView(view) {
  document.getElementById("map").dataset.view = view;
  for (const b of document.querySelectorAll("[data-view]:is(button)")) b.setAttribute("aria-pressed", String(b.dataset.view === view));
  sessionStorage.setItem("view", view);
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
}

for (const button of document.querySelectorAll("[data-pause]")) button.addEventListener("click", () => togglePause(button));
for (const button of document.querySelectorAll("button[data-view]")) button.addEventListener("click", () => showView(button.dataset.view));
document.getElementById("theme").addEventListener("click", toggleTheme);
showView(sessionStorage.getItem("view") ?? "map");

// The browser reconnects by itself after 2 s; each new stream begins with everything.
const stream = new EventSource(words.events);
stream.addEventListener("update", receive);
addEventListener("pagehide", () => stream.close());

for (const region of regions.values()) tick(region);
setInterval(() => {
  for (const [name, region] of regions) if (!held.has(name)) tick(region);
  showLink();
}, 1000);
