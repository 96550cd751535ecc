// How far a slider is filled.

/** Colour the track up to the value; to be called after every change. @param {HTMLInputElement} slider  of the class sl-slider */
export function showFilled(slider) {
  const [value, min, max] = [slider.value, slider.min, slider.max].map(Number);
  slider.style.setProperty("--filled", `${(100 * (value - min)) / (max - min)}%`);
}
