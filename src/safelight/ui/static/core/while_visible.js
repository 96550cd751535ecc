// Repeat a task while an element is visible.

/**
 * Run a task when an element becomes visible, and again after each interval while it stays visible.
 * Runs never overlap: what is requested during a run follows it. An element that was shown and has been removed from the page is not watched any more.
 * @param {Element} element
 * @param {() => Promise<unknown>} task  handles its own errors
 * @param {() => number} interval  seconds until the next run; Infinity: not before the element becomes visible again
 * @returns {() => void}  runs the task now, or once more after a run that is going on
 */
export function whileVisible(element, task, interval) {
  let intersecting = false, shown = false, busy = false, again = false, timer = 0;
  const watched = new AbortController();
  const isVisible = () => intersecting && !document.hidden;
  const run = async () => {
    clearTimeout(timer);
    if (busy || !isVisible()) return;
    busy = true;
    try {
      do {
        again = false;
        await task();
      } while (again);
    } finally {
      busy = false;
      const wait = interval() * 1000;
      if (isVisible() && Number.isFinite(wait)) timer = setTimeout(run, wait);
    }
  };
  const observer = new IntersectionObserver((entries) => {
    intersecting = !!entries.at(-1)?.isIntersecting; // of several entries the last is the current one
    if (intersecting) shown = true;
    if (intersecting) void run();
    else clearTimeout(timer);
    if (shown && !element.isConnected) {
      observer.disconnect();
      watched.abort();
    }
  });
  observer.observe(element);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : void run()), { signal: watched.signal });
  return () => {
    again = busy; // what the present run has already loaded may be older than this request
    void run();
  };
}
