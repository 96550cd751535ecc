// Scroll new content into view, and don't scroll when it is visible already.

const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Scroll to the top of an element, unless that is in the upper half of the window already.
 * @param {HTMLElement} element  if it is hidden, such as in another tab, this waits until it is visible
 * @param {{focus?: HTMLElement | null}} [options]  focus: the element to focus; by default the focus does not move
 */
export async function scrollToElement(element, { focus } = {}) {
  await whenVisible(element);
  focus?.focus({ preventScroll: true });
  const { top } = element.getBoundingClientRect();
  if (top >= 0 && top <= innerHeight / 2) return;
  element.scrollIntoView({ block: "start", behavior: REDUCED_MOTION.matches ? "instant" : "smooth" });
}

/** Resolves when an element is visible. @param {HTMLElement} element @returns {Promise<void>} */
export const whenVisible = (element) =>
  new Promise((resolve) => {
    const observer = new ResizeObserver(() => {
      if (!element.checkVisibility()) return;
      observer.disconnect();
      resolve();
    });
    observer.observe(element); // calls back once immediately
  });
