// Work that is only worth doing while somebody can see it.

/**
 * Do something again and again while an element is to be seen: at once when it appears, then after each pause.
 * It is never done twice at the same time.
 * @param {Element} element
 * @param {() => Promise<unknown>} task  Shows its own failures.
 * @param {() => number} interval  seconds until the next time; Infinity: not until it appears anew
 * @returns {() => void}  Does it now.
 */
export function whileVisible(element, task, interval) {
  let intersecting = false, busy = false, timer = 0;
  const isVisible = () => intersecting && !document.hidden;
  const run = async () => {
    clearTimeout(timer);
    if (busy || !isVisible()) return;
    busy = true;
    try {
      await task();
    } finally {
      busy = false;
      const wait = interval() * 1000;
      if (isVisible() && Number.isFinite(wait)) timer = setTimeout(run, wait);
    }
  };
  new IntersectionObserver((entries) => {
    intersecting = !!entries.at(-1)?.isIntersecting; // of several at once the last one holds
    if (intersecting) void run();
    else clearTimeout(timer);
  }).observe(element);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : void run()));
  return () => void run();
}
