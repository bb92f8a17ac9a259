// Prints the joints' matrices and the bones' lines of a .glb as the page's viewer computes them.
// Arguments: viewer/glb.js, a .glb, then "photograph", "rest" or a clip's number, a time, and further
// turns: a JSON list of [name of a joint, three angles in radians].
const fs = require("fs");
const vm = require("vm");
const [script, file, motion, time, turns] = process.argv.slice(2);

vm.runInThisContext(fs.readFileSync(script, "utf8") + "\nglobalThis.api = {parseGlb, Rig};");
const rig = new api.Rig(api.parseGlb(new Uint8Array(fs.readFileSync(file))));
const poses = {photograph: () => new Map(), rest: () => rig.restPose()};
const pose = poses[motion] ? poses[motion]() : rig.loopedPoseOf(rig.clips[+motion], +time);
const turned = JSON.parse(turns).map(([name, angles]) => {
  const joint = rig.nodes.findIndex((node) => node.name === name);
  return [joint, rig.turnOf(joint, angles)];
});
const world = rig.worldFromNodes(rig.turned(pose, new Map(turned)));
console.log(JSON.stringify({
  joints: Array.from(rig.jointMatrices(world)),
  bones: Array.from(rig.boneLines(world)),
}));
