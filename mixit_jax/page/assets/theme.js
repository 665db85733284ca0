"use strict";

// Light or dark as the system says, until somebody chooses.
const theme = {
  button: document.getElementById("theme"),
  system: matchMedia("(prefers-color-scheme: dark)"),
  changed: [],

  get dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : this.system.matches;
  },

  toggle() {
    const chosen = this.dark ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem("mixit_jax theme", chosen);
    } catch {
      // Some browsers store nothing for pages from disk.
    }
    this.show();
  },

  show() {
    this.button.textContent = this.dark ? "Light" : "Dark";
    this.button.setAttribute("aria-label", this.dark ? "Light theme" : "Dark theme");
    for (const act of this.changed) act();
  },

  start() {
    try {
      const chosen = localStorage.getItem("mixit_jax theme");
      if (chosen) document.documentElement.dataset.theme = chosen;
    } catch {
      // As above.
    }
    this.system.addEventListener("change", () => this.show());
    this.button.addEventListener("click", () => this.toggle());
    this.show();
  },
};
theme.start();
