// Reads the .glb files that pony_jax writes, and poses their joints. Matrices are column by column,
// as in glTF and WebGL. No other glTF is understood: one skinned mesh, linear animations.
"use strict";

const ARRAY_OF = {5121: Uint8Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array};
const WIDTH_OF = {SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4, MAT4: 16};

// The JSON and the binary buffer of a file.
function parseGlb(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 28 || view.getUint32(0, true) !== 0x46546c67) {
    throw new Error("expected a .glb file, got something else");
  }
  const jsonEnd = 20 + view.getUint32(12, true);
  const json = JSON.parse(new TextDecoder().decode(bytes.subarray(20, jsonEnd)));
  return {json, binary: bytes.subarray(jsonEnd + 8)};
}

function readView(glb, index) {
  const {byteOffset = 0, byteLength} = glb.json.bufferViews[index];
  return glb.binary.slice(byteOffset, byteOffset + byteLength);  // a copy, so aligned
}

function readAccessor(glb, index) {
  const accessor = glb.json.accessors[index];
  const bytes = readView(glb, accessor.bufferView);
  const length = accessor.count * WIDTH_OF[accessor.type];
  return new ARRAY_OF[accessor.componentType](bytes.buffer, accessor.byteOffset || 0, length);
}

function multiply(a, b) {
  const product = new Float32Array(16);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      let sum = 0;
      for (let i = 0; i < 4; i++) sum += a[4 * i + row] * b[4 * column + i];
      product[4 * column + row] = sum;
    }
  }
  return product;
}

function fromTranslationRotation([x, y, z], [i, j, k, r]) {
  return new Float32Array([
    1 - 2 * (j * j + k * k), 2 * (i * j + r * k), 2 * (i * k - r * j), 0,
    2 * (i * j - r * k), 1 - 2 * (i * i + k * k), 2 * (j * k + r * i), 0,
    2 * (i * k + r * j), 2 * (j * k - r * i), 1 - 2 * (i * i + j * j), 0,
    x, y, z, 1,
  ]);
}

// The inverse of a rotation and a shift.
function invertRigid(m) {
  const inverse = new Float32Array(16);
  for (let row = 0; row < 3; row++) {
    for (let column = 0; column < 3; column++) inverse[4 * column + row] = m[4 * row + column];
    inverse[12 + row] = -(m[4 * row] * m[12] + m[4 * row + 1] * m[13] + m[4 * row + 2] * m[14]);
  }
  inverse[15] = 1;
  return inverse;
}

function multiplyQuaternions([ax, ay, az, aw], [bx, by, bz, bw]) {
  return [
    aw * bx + ax * bw + ay * bz - az * by,
    aw * by - ax * bz + ay * bw + az * bx,
    aw * bz + ax * by - ay * bx + az * bw,
    aw * bw - ax * bx - ay * by - az * bz,
  ];
}

function slerp(a, b, share) {
  let cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
  const sign = cosine < 0 ? -1 : 1;
  cosine = Math.min(1, Math.abs(cosine));
  const angle = Math.acos(cosine);
  let before = 1 - share, after = share;
  if (angle > 1e-4) {
    before = Math.sin((1 - share) * angle) / Math.sin(angle);
    after = Math.sin(share * angle) / Math.sin(angle);
  }
  return a.map((value, i) => before * value + sign * after * b[i]);
}

function lerp(a, b, share) {
  return a.map((value, i) => (1 - share) * value + share * b[i]);
}

// Values of a track at a time, which is held at both ends.
function sample(track, time) {
  const {times, values, width} = track;
  const value = (frame) => Array.from(values.subarray(width * frame, width * frame + width));
  let next = times.findIndex((t) => t > time);
  if (next < 0) return value(times.length - 1);
  if (next === 0) return value(0);
  const share = (time - times[next - 1]) / (times[next] - times[next - 1]);
  return (width === 4 ? slerp : lerp)(value(next - 1), value(next), share);
}

class Rig {
  constructor(glb) {
    const {nodes, skins, animations = []} = glb.json;
    this.nodes = nodes;
    this.joints = skins[0].joints;
    this.inverseBind = readAccessor(glb, skins[0].inverseBindMatrices);
    this.parents = new Map();
    nodes.forEach((node, i) => (node.children || []).forEach((child) => this.parents.set(child, i)));
    this.clips = animations.map(({name, channels, samplers}) => {
      const tracks = channels.map(({sampler, target}) => ({
        node: target.node,
        path: target.path,
        width: target.path === "rotation" ? 4 : 3,
        times: readAccessor(glb, samplers[sampler].input),
        values: readAccessor(glb, samplers[sampler].output),
      }));
      const seconds = Math.max(...tracks.map(({times}) => times[times.length - 1]));
      return {name, tracks, seconds, travel: this._travel(tracks)};
    });
  }

  // How far the root joint goes over the ground in one round of a clip.
  _travel(tracks) {
    const root = tracks.find(({node, path}) => node === this.joints[0] && path === "translation");
    if (!root) return [0, 0, 0];
    const first = root.values.subarray(0, 3), last = root.values.subarray(root.values.length - 3);
    return [last[0] - first[0], 0, last[2] - first[2]];
  }

  // World from node of every node. A pose is a Map from nodes to {translation, rotation}, which
  // replace those of the file.
  worldFromNodes(pose = new Map()) {
    const world = new Array(this.nodes.length);
    const find = (i) => {
      if (!world[i]) {
        const node = {...this.nodes[i], ...pose.get(i)};
        const local = fromTranslationRotation(
            node.translation || [0, 0, 0], node.rotation || [0, 0, 0, 1]);
        const parent = this.parents.get(i);
        world[i] = parent === undefined ? local : multiply(find(parent), local);
      }
      return world[i];
    };
    this.nodes.forEach((_, i) => find(i));
    return world;
  }

  // The pose of a clip at a time.
  poseOf(clip, time) {
    const pose = new Map();
    for (const track of clip.tracks) {
      pose.set(track.node, {...pose.get(track.node), [track.path]: sample(track, time)});
    }
    return pose;
  }

  // The pose of a clip that goes on for ever, each round from where the last one has led.
  loopedPoseOf(clip, time) {
    if (!clip.seconds) return this.poseOf(clip, 0);
    const rounds = Math.floor(time / clip.seconds);
    const pose = this.poseOf(clip, time - rounds * clip.seconds);
    const root = pose.get(this.joints[0]);
    if (root && root.translation) {
      root.translation = root.translation.map((value, i) => value + rounds * clip.travel[i]);
    }
    return pose;
  }

  // All joints as they are in the bind pose: no rotation.
  restPose() {
    return new Map(this.joints.map((joint) => [joint, {rotation: [0, 0, 0, 1]}]));
  }

  // World from rest of every joint, one matrix after the other.
  jointMatrices(worldFromNodes) {
    const matrices = new Float32Array(16 * this.joints.length);
    this.joints.forEach((joint, i) => {
      const bind = this.inverseBind.subarray(16 * i, 16 * i + 16);
      matrices.set(multiply(worldFromNodes[joint], bind), 16 * i);
    });
    return matrices;
  }

  // Right, up and forward (along the bone) of a joint at rest, as `Skeleton.bone_frames` has them;
  // the world's axes for the root joint, which has no bone.
  boneFrame(joint) {
    const [x, y, z] = (this.nodes[joint].extras || {}).tip || [0, 0, 1];
    const length = Math.hypot(x, y, z), across = Math.hypot(y, z);
    if (across <= 1e-6 * length) return [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const forward = [x / length, y / length, z / length], up = [0, z / across, -y / across];
    const right = [up[1] * forward[2] - up[2] * forward[1], up[2] * forward[0], -up[1] * forward[0]];
    return [right, up, forward];
  }

  // The turn (a quaternion) of a joint by Euler angles about its bone's axes: Rx Ry Rz, as in Python.
  turnOf(joint, angles) {
    return this.boneFrame(joint).map((axis, i) => {
      const sine = Math.sin(angles[i] / 2);
      return [...axis.map((value) => sine * value), Math.cos(angles[i] / 2)];
    }).reduce(multiplyQuaternions);
  }

  // A pose with some joints (a Map to quaternions) turned further, about the axes that move along.
  turned(pose, turns) {
    const result = new Map(pose);
    for (const [joint, turn] of turns) {
      const {rotation = [0, 0, 0, 1]} = {...this.nodes[joint], ...pose.get(joint)};
      result.set(joint, {...pose.get(joint), rotation: multiplyQuaternions(rotation, turn)});
    }
    return result;
  }

  // Pairs of points (joint, end of its bone), as lines.
  boneLines(worldFromNodes, joints = this.joints) {
    const points = [];
    for (const joint of joints) {
      const tip = (this.nodes[joint].extras || {}).tip;
      if (!tip) continue;
      const m = worldFromNodes[joint];
      points.push(m[12], m[13], m[14]);
      for (let row = 0; row < 3; row++) {
        points.push(m[row] * tip[0] + m[4 + row] * tip[1] + m[8 + row] * tip[2] + m[12 + row]);
      }
    }
    return new Float32Array(points);
  }
}
