// Bring what has just come into being before the user's eyes, and leave the page alone where it is there already.

const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Scroll to an element's beginning, unless that lies in the upper half of the window.
 * @param {HTMLElement} element  One that has no place yet, as its tab is not shown, is waited for.
 * @param {{focus?: HTMLElement | null}} [options]  focus: what is to have it; otherwise it stays where it is
 */
export async function scrollToElement(element, { focus } = {}) {
  await whenVisible(element);
  focus?.focus({ preventScroll: true });
  const { top } = element.getBoundingClientRect();
  if (top >= 0 && top <= innerHeight / 2) return;
  element.scrollIntoView({ block: "start", behavior: REDUCED_MOTION.matches ? "instant" : "smooth" });
}

/** @param {HTMLElement} element @returns {Promise<void>} */
const whenVisible = (element) =>
  new Promise((resolve) => {
    const observer = new ResizeObserver(() => {
      if (!element.checkVisibility()) return;
      observer.disconnect();
      resolve();
    });
    observer.observe(element); // which calls once at once
  });
