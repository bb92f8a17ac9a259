// Sliders of the page: view, light, and every joint. All act on the viewer at once.
"use strict";

const DEGREE = Math.PI / 180;
// How far sliders turn a joint about the axes of its bone, degrees.
const JOINT_AXES = [["bend", 90], ["sideways", 45], ["twist", 45]];

// A slider in a label of its own; `take` is called with its number. Returns the input.
function addSlider(parent, text, [low, high, step], take, name = text) {
  const label = document.createElement("label"), input = document.createElement("input");
  label.append(text, input);
  Object.assign(input, {type: "range", min: low, max: high, step, value: 0});
  input.setAttribute("aria-label", name);
  input.addEventListener("input", () => take(input.valueAsNumber));
  parent.append(label);
  return input;
}

function addViewSliders(viewer, parent) {
  const take = (key, unit) => (value) => {
    viewer.canvas.dispatchEvent(new Event("taken"));
    viewer.seeFrom({...viewer.view, [key]: value * unit});
  };
  const around = addSlider(parent, "around", [-180, 180, 1], take("yaw", DEGREE));
  const height = addSlider(parent, "height", [-85, 85, 1], take("pitch", DEGREE));
  const distance = addSlider(
      parent, "distance", [MIN_DISTANCE, MAX_DISTANCE, 0.1], take("distance", 1));
  const follow = () => {
    const view = viewer.view;
    around.value = view.yaw / DEGREE;
    height.value = view.pitch / DEGREE;
    distance.value = view.distance;
  };
  viewer.canvas.addEventListener("view", follow);
  follow();
}

function addLightSliders(viewer, parent, reset) {
  const turn = (key) => (value) =>
    Object.assign(viewer.light, viewer.lightView, {[key]: value * DEGREE});
  const strength = (key) => (value) => (viewer.light[key] = value);
  const around = addSlider(parent, "light around", [-180, 180, 1], turn("yaw"));
  const height = addSlider(parent, "light height", [-90, 90, 1], turn("pitch"));
  const ambient = addSlider(parent, "ambient", [0, 1.5, 0.01], strength("ambient"));
  const diffuse = addSlider(parent, "diffuse", [0, 1.5, 0.01], strength("diffuse"));
  const follow = () => {
    const {yaw, pitch} = viewer.lightView;
    around.value = yaw / DEGREE;
    height.value = pitch / DEGREE;
    ambient.value = viewer.light.ambient;
    diffuse.value = viewer.light.diffuse;
  };
  reset.addEventListener("click", () => {
    viewer.light = {...viewer.photographedLight};
    follow();
  });
  follow();
}

// A row of three sliders for each joint. They turn it beside its pose, whatever motion is shown.
function addJointSliders(viewer, parent, reset) {
  for (const joint of viewer.rig.joints) {
    const {name} = viewer.rig.nodes[joint];
    const row = document.createElement("fieldset"), legend = document.createElement("legend");
    legend.textContent = name.replaceAll("_", " ");
    row.append(legend);
    const inputs = JOINT_AXES.map(([axis, most]) => addSlider(
        row, axis, [-most, most, 1],
        () => viewer.setJoint(joint, inputs.map((input) => input.valueAsNumber * DEGREE)),
        `${axis} ${legend.textContent}`));
    row.dataset.joint = name;
    for (const [event, marked] of
      [["pointerenter", joint], ["focusin", joint], ["pointerleave", null], ["focusout", null]]) {
      row.addEventListener(event, () => (viewer.marked = marked));
    }
    parent.append(row);
  }
  reset.addEventListener("click", () => {
    viewer.turns.clear();
    for (const input of parent.querySelectorAll("input")) input.value = 0;
  });
}
