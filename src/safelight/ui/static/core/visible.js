// Work that is only worth doing while somebody can see it.

/**
 * Do something again and again while an element is to be seen: at once when it appears, then after each pause.
 * It is never done twice at the same time.
 * @param {Element} element
 * @param {() => Promise<unknown>} work  Shows its own failures.
 * @param {() => number} pause  seconds until the next time; Infinity: not until it appears anew
 * @returns {() => void}  Does it now.
 */
export function whileVisible(element, work, pause) {
  let inside = false, busy = false, timer = 0;
  const seen = () => inside && !document.hidden;
  const turn = async () => {
    clearTimeout(timer);
    if (busy || !seen()) return;
    busy = true;
    try {
      await work();
    } finally {
      busy = false;
      const wait = pause() * 1000;
      if (seen() && Number.isFinite(wait)) timer = setTimeout(turn, wait);
    }
  };
  new IntersectionObserver((entries) => {
    inside = !!entries.at(-1)?.isIntersecting; // of several at once the last one holds
    if (inside) void turn();
    else clearTimeout(timer);
  }).observe(element);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : void turn()));
  return () => void turn();
}
