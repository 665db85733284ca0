"use strict";

// What is seen of a song, and what mouse, touch and keys do.

const song = JSON.parse(document.getElementById("song").textContent);
const player = new Player(song);
const element = (id) => document.getElementById(id);
const clock = (seconds, digits = 0) => {
  const unit = 10 ** digits;
  const whole = Math.floor(seconds * unit + 1e-6) / unit;
  const rest = (whole % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
};

function make(kind, properties = {}, ...children) {
  const node = document.createElement(kind);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function factList(facts) {
  return facts.map(({ label, value, meaning }) =>
    make("div", { title: meaning }, make("dt", {}, label), make("dd", {}, value)));
}

// Draw at the resolution of the screen, also after changes of size and theme.
function drawn(canvas, draw) {
  const act = () => {
    const { width, height } = canvas.getBoundingClientRect();
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    draw(canvas.getContext("2d"), canvas.width, canvas.height, ratio);
  };
  new ResizeObserver(act).observe(canvas);
  theme.changed.push(act);
}

class TrackView {
  constructor(track, index) {
    this.track = track;
    this.index = index;
    this.solo = false;
    this.muted = track.kind !== "stem" && song.tracks.some((t) => t.kind === "stem");
    this.volume = 100;
    const { name } = track;
    this.soloButton = make("button", { type: "button", className: "solo",
      "aria-label": `Solo ${name}`, title: `Hear ${name} alone` }, "S");
    this.muteButton = make("button", { type: "button", className: "mute",
      "aria-label": `Mute ${name}`, title: `Mute ${name}` }, "M");
    this.slider = make("input", { type: "range", min: 0, max: 100, value: 100,
      "aria-label": `Volume of ${name}` });
    this.soloButton.addEventListener("click", (event) =>
      setSolo(this, event.ctrlKey || event.metaKey || event.shiftKey));
    this.muteButton.addEventListener("click", () => setMuted(this, !this.muted));
    this.slider.addEventListener("input", () => {
      this.volume = Number(this.slider.value);
      mix();
    });
    const canvas = make("canvas", { className: "waveform", role: "img",
      "aria-label": `Waveform of ${name}` });
    const picture = make("div", { className: "pictures" },
      make("div", { className: "wave" }, canvas, make("div", { className: "veil" })),
      make("div", { className: "spectrum" },
        make("img", { src: track.picture, alt: `Spectrogram of ${name}`, draggable: false }),
        ...song.marks.map(([text, height]) => {
          const mark = make("span", { className: "mark" }, text);
          mark.style.bottom = `${100 * height}%`;
          return mark;
        })),
      make("div", { className: "region" }), make("div", { className: "head" }));
    selectable(picture);
    this.node = make("section", { className: `track ${track.kind}`, "aria-label": name },
      make("div", { className: "controls" },
        make("div", { className: "name" },
          make("span", { className: "dot", "aria-hidden": "true" }),
          make("h2", {}, name),
          make("a", { className: "file", href: track.file, title: "Open its file",
            "aria-label": `File of ${name}` }, "File")),
        make("div", { className: "mixer" }, this.soloButton, this.muteButton, this.slider),
        make("dl", { className: "facts" }, ...factList(track.facts))),
      picture);
    this.node.dataset.color = track.color;
    drawn(canvas, (pen, width, height, ratio) => this.draw(pen, width, height, ratio));
  }

  draw(pen, width, height, ratio) {
    const packed = Uint8Array.from(atob(this.track.waveform), (c) => c.charCodeAt(0));
    const values = new Int8Array(packed.buffer);
    const columns = values.length / 3;
    const color = getComputedStyle(this.node).getPropertyValue("--track");
    const middle = height / 2;
    const bars = Math.min(width, columns);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = color;
    for (let bar = 0; bar < bars; bar++) {
      const first = Math.floor((bar * columns) / bars);
      const last = Math.max(first + 1, Math.floor(((bar + 1) * columns) / bars));
      let low = 0, high = 0, level = 0;
      for (let column = first; column < last; column++) {
        low = Math.min(low, values[3 * column]);
        high = Math.max(high, values[3 * column + 1]);
        level = Math.max(level, values[3 * column + 2]);
      }
      const left = (bar * width) / bars, size = width / bars + 0.3;
      const scale = (middle - ratio) / 127;
      const line = ratio / 2; // silence is a thin line
      pen.globalAlpha = 0.45;
      pen.fillRect(left, middle - high * scale - line, size, (high - low) * scale + 2 * line);
      pen.globalAlpha = 1;
      pen.fillRect(left, middle - level * scale - line, size, 2 * level * scale + 2 * line);
    }
  }

  show(audible) {
    this.soloButton.setAttribute("aria-pressed", String(this.solo));
    this.muteButton.setAttribute("aria-pressed", String(this.muted));
    this.node.classList.toggle("silent", !audible);
  }
}

const views = song.tracks.map((track, index) => new TrackView(track, index));

function mix() {
  const alone = views.some((view) => view.solo);
  const heard = views.map((view) => (alone ? view.solo : !view.muted));
  views.forEach((view, index) => view.show(heard[index]));
  // Squares: half way is a quarter of the amplitude, about half as loud.
  const levels = views.map((view, i) => (heard[i] ? (view.volume / 100) ** 2 : 0));
  player.setLevels(levels, (Number(element("master").value) / 100) ** 2);
}

function setSolo(view, more) {
  const solo = !view.solo || (!more && views.some((each) => each !== view && each.solo));
  if (!more) for (const each of views) each.solo = false;
  view.solo = solo;
  const alone = views.filter((each) => each.solo).map((each) => each.track.name);
  say(alone.length ? `Only ${alone.join(", ")}` : "No track alone");
  mix();
}

function setMuted(view, muted) {
  view.muted = muted;
  say(`${view.track.name} ${muted ? "muted" : "not muted"}`);
  mix();
}

function say(text) {
  element("status").textContent = text;
}

// A click goes to a place, a drag chooses what is looped.
function selectable(area) {
  const place = (event) => {
    const { left, width } = area.getBoundingClientRect();
    return song.seconds * Math.min(Math.max((event.clientX - left) / width, 0), 1);
  };
  let from = null, pressed = 0, dragged = false;
  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = place(event);
    pressed = event.clientX;
    dragged = false;
    area.setPointerCapture(event.pointerId);
  });
  area.addEventListener("pointermove", (event) => {
    if (from === null) return;
    dragged ||= Math.abs(event.clientX - pressed) > 6;
    if (!dragged) return;
    const to = place(event);
    showRegion(Math.min(from, to), Math.max(from, to));
  });
  area.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const to = place(event);
    if (dragged && Math.abs(to - from) > 0.05) {
      loopPart(Math.min(from, to), Math.max(from, to));
      if (player.position < player.loop.begin || player.position >= player.loop.end) {
        player.seek(player.loop.begin);
      }
    } else {
      player.seek(from);
    }
    from = null;
    show();
  });
  area.addEventListener("pointercancel", () => {
    from = null;
    showLoop();
  });
}

function loopPart(begin, end) {
  player.setLoop({ on: true, begin, end });
  say(`Loop from ${clock(begin, 1)} to ${clock(end, 1)}`);
  showLoop();
}

function toggleLoop() {
  player.setLoop({ on: !player.loop.on });
  say(player.loop.on ? "Loop on" : "Loop off");
  showLoop();
}

function wholeLoop() {
  player.setLoop({ begin: 0, end: song.seconds });
  say("The whole song is looped if loop is on");
  showLoop();
}

function showLoop() {
  const { on, begin, end } = player.loop;
  element("loop").setAttribute("aria-pressed", String(on));
  document.body.classList.toggle("looping", on);
  showRegion(begin, end);
}

function showRegion(begin, end) {
  const { style, classList } = document.body;
  classList.toggle("part", begin > 0 || end < song.seconds);
  style.setProperty("--begin", begin / song.seconds);
  style.setProperty("--end", end / song.seconds);
}

function togglePlay() {
  if (player.playing) player.pause();
  else player.play();
  say(player.playing ? "Playing" : "Paused");
  show();
}

let shown = "";
function show() {
  const { position, playing } = player;
  const text = clock(position, 1);
  document.body.style.setProperty("--play", position / song.seconds);
  if (text !== shown) {
    shown = text;
    element("now").textContent = text;
    const ruler = element("ruler");
    ruler.setAttribute("aria-valuenow", position.toFixed(1));
    ruler.setAttribute("aria-valuetext", `${clock(position)} of ${clock(song.seconds)}`);
  }
  if (document.body.classList.contains("playing") !== playing) {
    document.body.classList.toggle("playing", playing);
    element("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }
  document.body.classList.toggle("loading", player.loading);
}

function frame() {
  show();
  requestAnimationFrame(frame);
}

function setView(view) {
  document.body.dataset.view = view;
  for (const button of element("views").children) {
    button.setAttribute("aria-pressed", String(button.dataset.view === view));
  }
}

function nextView() {
  const all = [...element("views").children].map((button) => button.dataset.view);
  setView(all[(all.indexOf(document.body.dataset.view) + 1) % all.length]);
}

function drawTicks(pen, width, height, ratio) {
  const style = getComputedStyle(document.body);
  const least = (70 * ratio * song.seconds) / width; // seconds between labels
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((each) => each >= least) ?? 7200;
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = style.getPropertyValue("--soft");
  pen.font = `${11 * ratio}px ${style.fontFamily}`;
  for (let tick = 0; tick * step <= song.seconds; tick++) {
    const x = (tick * step * width) / song.seconds;
    const text = clock(tick * step, step < 1 ? 1 : 0);
    pen.fillRect(x, height - 9 * ratio, ratio, 9 * ratio);
    if (x + pen.measureText(text).width + 4 * ratio < width) {
      pen.fillText(text, x + 4 * ratio, height - 12 * ratio);
    }
    for (let part = 1; part < 5; part++) {
      pen.fillRect(x + (part * step * width) / song.seconds / 5, height - 4 * ratio,
        ratio, 4 * ratio);
    }
  }
}

const KEYS = {
  " ": togglePlay,
  ArrowLeft: (event) => player.seek(player.position - (event.shiftKey ? 1 : 5)),
  ArrowRight: (event) => player.seek(player.position + (event.shiftKey ? 1 : 5)),
  Home: () => player.seek(player.loop.on ? player.loop.begin : 0),
  l: toggleLoop,
  "[": () => loopPart(player.position,
    player.loop.end > player.position ? player.loop.end : song.seconds),
  "]": () => loopPart(player.loop.begin < player.position ? player.loop.begin : 0,
    Math.max(player.position, 0.05)),
  Escape: wholeLoop,
  v: nextView,
  t: () => theme.toggle(),
  "?": () => element("keys").showModal(),
  0: () => {
    for (const view of views) view.solo = false;
    say("No track alone");
    mix();
  },
};

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open) return;
  const slider = target.matches("input");
  if (slider && (event.key.startsWith("Arrow") || event.key === "Home")) return;
  // A focused button takes the space bar itself.
  if (event.key === " " && target.matches("button, a")) return;
  const digit = /^Digit([1-9])$/.exec(event.code);
  const view = digit && views[digit[1] - 1];
  const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (view) {
    if (event.shiftKey) setMuted(view, !view.muted);
    else setSolo(view, false);
  } else if (act) act(event);
  else return;
  event.preventDefault();
});

player.failed = (error) => {
  element("notice").textContent = error.message;
  element("notice").hidden = false;
};
if (song.overview) {
  element("back").href = song.overview;
  element("back").hidden = false;
}
element("song-facts").append(...factList(song.facts));
element("length").textContent = clock(song.seconds);
element("ruler").setAttribute("aria-valuemax", song.seconds.toFixed(1));
element("tracks").append(...views.map((view) => view.node));
element("play").addEventListener("click", togglePlay);
element("start").addEventListener("click", () => KEYS.Home());
element("loop").addEventListener("click", toggleLoop);
element("help").addEventListener("click", () => element("keys").showModal());
element("master").addEventListener("input", mix);
for (const button of element("views").children) {
  button.addEventListener("click", () => setView(button.dataset.view));
}
selectable(element("ruler"));
drawn(element("ticks"), drawTicks);
setView(song.tracks.length > 6 ? "waveform" : "both");
showLoop();
mix();
frame();
