// Chromium says "en-US@posix" where LANG is C or POSIX. Intl refuses that, and uPlot, which asks it, would not load.
(() => {
  "use strict";
  try {
    new Intl.NumberFormat(navigator.language);
  } catch {
    Object.defineProperty(navigator, "language", { value: "en-US" });
  }
})();
