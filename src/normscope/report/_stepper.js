// One slider for each row of moments. Where no script runs, a few moments stand below each other.
(() => {
  "use strict";
  const steppers = [...document.querySelectorAll(".stepper")].map((root) => {
    const frames = [...root.querySelectorAll(".frame")];
    const slider = root.querySelector("input");
    const said = root.querySelector("output");
    const steps = frames.map((frame) => Number(frame.dataset.step));
    const show = (number) => {
      frames.forEach((frame, n) => frame.classList.toggle("now", n === number));
      slider.value = number;
      const title = frames[number].querySelector(".moment").textContent;
      slider.setAttribute("aria-valuetext", title);
      said.textContent = title;
    };
    return { root, frames, slider, steps, show };
  });

  // All rows show one moment of the training: the last of theirs that is not after it.
  const go = (step) => {
    for (const { steps, show } of steppers) {
      show(Math.max(0, steps.findLastIndex((own) => own <= step)));
    }
  };

  for (const one of steppers) {
    one.root.classList.add("live");
    one.slider.closest(".slider").hidden = false;
    one.slider.addEventListener("input", () => {
      const number = Number(one.slider.value);
      go(number === one.steps.length - 1 ? Infinity : one.steps[number]);
      one.show(number);
    });
  }
  go(Infinity);
})();
