// Connects the controls of the page to the viewer, and its links to the files that lie in it.
"use strict";

const element = (id) => document.getElementById(id);

function bytesOf(id) {
  const text = atob(element(id).textContent.trim());
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function offerDownloads() {
  for (const link of document.querySelectorAll("a[data-file]")) {
    link.href = URL.createObjectURL(new Blob([bytesOf(link.dataset.file)]));
  }
}

async function start() {
  offerDownloads();
  const viewer = await Viewer.open(element("view"), bytesOf("model"));
  window.viewer = viewer;
  const motion = element("motion"), still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  viewer.rig.clips.forEach(({name}, i) => motion.add(new Option(name, i)));
  motion.addEventListener("change", () => {
    viewer.motion = ["photograph", "rest"].includes(motion.value) ? motion.value : +motion.value;
    viewer.time = 0;
  });
  element("show").addEventListener("change", (event) => (viewer.show = event.target.value));
  element("bones").addEventListener("change", (event) => (viewer.bones = event.target.checked));
  const turning = element("turning"), play = element("play");
  turning.addEventListener("change", () => (viewer.turning = turning.checked));
  viewer.canvas.addEventListener("taken", () => (viewer.turning = turning.checked = false));
  const setPlaying = (playing) => {
    viewer.playing = playing;
    play.textContent = playing ? "Pause" : "Play";
  };
  play.addEventListener("click", () => setPlaying(!viewer.playing));
  element("home").addEventListener("click", () => {
    viewer.seeAsPhotographed();
    turning.checked = false;
  });
  addViewSliders(viewer, element("view-sliders"));
  addLightSliders(viewer, element("light-sliders"), element("light-home"));
  addJointSliders(viewer, element("joint-sliders"), element("joints-home"));
  setPlaying(!still);
  viewer.turning = turning.checked = !still;
  viewer.run();
}

window.ready = start().catch((error) => {
  element("failure").hidden = false;
  element("failure").textContent = `The 3D view cannot start: ${error.message}`;
});
