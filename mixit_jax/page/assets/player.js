"use strict";

// Sound: all tracks in step, from short segments that are loaded shortly before they are
// heard. Every segment is a script, since pages from disk may load nothing else; its
// tracks are decoded and started at the same sample of one audio clock.

const AHEAD = 2.5; // seconds scheduled in advance: timers of hidden tabs are slow
const FADE = 0.006; // seconds in which sound begins or ends where it is cut
const KEPT = 4; // segments
const LEAD = 0.06; // seconds from a decision to the sound

class Segments {
  constructor(folder, numTracks) {
    this.folder = folder;
    this.numTracks = numTracks;
    this.context = null;
    this.decoded = new Map(); // number to a promise of one buffer for each track
    this.waiting = new Map(); // number to what takes its tracks
    window.receiveSegment = (number, tracks) => this.waiting.get(number)?.(tracks);
  }

  get(number) {
    if (!this.decoded.has(number)) {
      const found = this.load(number).then((tracks) => this.decode(tracks));
      found.catch(() => this.decoded.delete(number));
      this.decoded.set(number, found);
      for (const old of this.decoded.keys()) {
        if (this.decoded.size > KEPT && old !== number) this.decoded.delete(old);
      }
    }
    return this.decoded.get(number);
  }

  load(number) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      this.waiting.set(number, resolve);
      script.src = `${this.folder}/${String(number).padStart(4, "0")}.js`;
      script.onload = script.onerror = (event) => {
        this.waiting.delete(number);
        script.remove();
        if (event.type === "error") {
          reject(new Error(`${script.getAttribute("src")} is missing beside this page.`));
        }
      };
      document.head.append(script);
    });
  }

  async decode(tracks) {
    try {
      return await Promise.all(tracks.map((text) => this.context.decodeAudioData(
        Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer)));
    } catch {
      throw new Error(
        "This browser cannot decode Ogg Vorbis: try a newer one, or use the links.");
    }
  }
}

class Player {
  constructor(song) {
    this.song = song;
    this.segments = new Segments("page/audio", song.tracks.length);
    this.levels = song.tracks.map(() => 1); // what is heard of each track, 0 to 1
    this.master = 1;
    this.context = null;
    this.gains = []; // a node for each track, in the order of the page
    this.loop = { on: false, begin: 0, end: song.seconds };
    this.playing = false;
    this.loading = false;
    this.rest = 0; // position while nothing plays
    this.pieces = []; // what was scheduled, in order
    this.run = 0; // counts starts: what belongs to an earlier one is void
    this.failed = () => {};
    setInterval(() => this.fill(), 150);
  }

  get position() {
    if (!this.playing || !this.pieces.length) return this.rest;
    const now = this.context.currentTime;
    while (this.pieces.length > 1 && this.pieces[1].at <= now) this.pieces.shift();
    const { at, begin, end } = this.pieces[0];
    return Math.min(Math.max(begin, begin + now - at), end);
  }

  play() {
    if (this.playing) return;
    this.open();
    this.context.resume();
    if (this.rest >= this.song.seconds - 0.01) this.rest = 0;
    this.playing = true;
    this.begin(this.rest);
  }

  pause() {
    if (!this.playing) return;
    this.rest = this.position;
    this.playing = this.loading = false;
    this.silence();
  }

  seek(position) {
    const place = Math.min(Math.max(position, 0), this.song.seconds);
    this.rest = place;
    if (this.playing) this.begin(place);
  }

  setLoop(loop) {
    Object.assign(this.loop, loop);
    // What is scheduled follows the former loop.
    if (this.playing) this.begin(this.position);
  }

  setLevels(levels, master) {
    this.levels = levels;
    this.master = master;
    if (!this.context) return;
    const now = this.context.currentTime;
    this.gains.forEach((gain, i) => gain.gain.setTargetAtTime(levels[i], now, 0.008));
    this.output.gain.setTargetAtTime(master, now, 0.008);
  }

  // Browsers open audio only after a key or a click.
  open() {
    if (this.context) return;
    try {
      this.context = new AudioContext({ sampleRate: this.song.rate });
    } catch {
      this.context = new AudioContext(); // it will resample
    }
    this.segments.context = this.context;
    this.output = this.context.createGain();
    this.output.gain.value = this.master;
    this.output.connect(this.context.destination);
    this.gains = this.levels.map((level) => {
      const gain = this.context.createGain();
      gain.gain.value = level;
      gain.connect(this.output);
      return gain;
    });
  }

  begin(position) {
    this.silence();
    this.rest = position;
    this.cursor = position; // what is scheduled next, and when it is heard
    this.cursorAt = null;
    this.lead = LEAD;
    this.joined = false; // whether it follows what was scheduled last
    this.fill();
  }

  silence() {
    this.run += 1;
    for (const piece of this.pieces) this.mute(piece);
    this.pieces = [];
  }

  mute(piece) {
    const now = this.context.currentTime;
    for (const { source, fade } of piece.voices) {
      fade.gain.cancelScheduledValues(now);
      fade.gain.setTargetAtTime(0, now, FADE / 3);
      source.stop(now + 3 * FADE);
    }
  }

  // Schedule what will be heard within the next seconds.
  async fill() {
    if (!this.playing || this.filling === this.run) return;
    const run = this.run;
    this.filling = run;
    const { seconds, segment } = this.song;
    try {
      while (run === this.run && this.cursor < seconds - 1e-4) {
        const now = this.context.currentTime;
        if (this.cursorAt !== null && this.cursorAt > now + AHEAD) break;
        const number = Math.floor(this.cursor / segment + 1e-6);
        this.loading = this.cursorAt === null || this.cursorAt < now;
        const buffers = await this.segments.get(number);
        if (run !== this.run) return;
        this.loading = false;
        this.place(number, buffers);
        const next = number + 1;
        if (next * segment < seconds) this.segments.get(next).catch(() => {});
      }
    } catch (error) {
      if (run !== this.run) return;
      this.pause();
      this.failed(error);
    } finally {
      if (this.filling === run) this.filling = null;
    }
    if (run === this.run && this.cursor >= seconds - 1e-4) this.end();
  }

  // Schedule the rest of a segment, up to its end or that of the loop.
  place(number, buffers) {
    const { segment, margin, seconds } = this.song;
    const { loop } = this;
    const begin = this.cursor;
    const looped = loop.on && begin < loop.end;
    const border = Math.min((number + 1) * segment, seconds);
    const end = looped ? Math.min(border, loop.end) : border;
    const before = this.joined && begin === number * segment ? margin : 0;
    const after = end === border && end < seconds && !(looped && end === loop.end)
      ? margin : 0;
    const decided = performance.now();
    const earliest = this.context.currentTime + this.lead + before;
    const at = Math.max(this.cursorAt ?? 0, earliest);
    const first = number * segment - (number ? margin : 0); // where the buffers begin
    const start = at - before;
    const stop = at + end - begin;
    const risen = at + Math.min(before || FADE, (end - begin) / 2);
    const falls = Math.max(risen, stop - (after || FADE));
    const voices = buffers.map((buffer, channel) => {
      const source = this.context.createBufferSource();
      const fade = this.context.createGain();
      source.buffer = buffer;
      fade.gain.setValueAtTime(0, start);
      fade.gain.linearRampToValueAtTime(1, risen);
      fade.gain.setValueAtTime(1, falls);
      fade.gain.linearRampToValueAtTime(0, stop + after);
      const track = this.song.tracks.findIndex((each) => each.channel === channel);
      source.connect(fade).connect(this.gains[track]);
      source.start(start, begin - before - first, stop + after - start);
      return { source, fade };
    });
    const piece = { begin, end, at, voices };
    // What starts late starts at once, and not all tracks together: again, with more time.
    const left = start - earliest + before + this.lead / 2;
    if (performance.now() - decided > 1000 * left) {
      this.mute(piece);
      this.lead *= 2;
      return;
    }
    this.pieces.push(piece);
    this.cursor = looped && end === loop.end ? loop.begin : end;
    this.joined = this.cursor === end;
    this.cursorAt = stop;
  }

  end() {
    if (this.position < this.song.seconds - 0.02) return;
    this.pause();
    this.rest = 0;
  }
}
