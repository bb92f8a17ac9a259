// Draws the animal of a .glb (see glb.js) with WebGL 2: orbit by dragging, play its clips.
"use strict";

const MESH_VERTEX = `#version 300 es
uniform mat4 clipFromWorld;
uniform mat4 worldFromRest[NUM_JOINTS];
in vec3 position;
in vec3 normal;
in vec2 uv;
in uvec4 joints;
in vec4 weights;
out vec3 normalWorld;
out vec2 texel;
void main() {
  mat4 blend = mat4(0.0);
  for (int i = 0; i < 4; i++) blend += weights[i] * worldFromRest[joints[i]];
  normalWorld = mat3(blend) * normal;
  texel = uv;
  gl_Position = clipFromWorld * (blend * vec4(position, 1.0));
}`;

// Colours are displayed as they are, not linear: shading is the model's own formula.
const MESH_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D albedo;
uniform vec3 lightWorld;
uniform vec2 light;  // ambient, diffuse
uniform mat3 camFromWorld;
uniform int show;
in vec3 normalWorld;
in vec2 texel;
out vec4 colour;
void main() {
  vec3 n = normalize(normalWorld);
  float shading = light.x + light.y * max(dot(lightWorld, n), 0.0);
  vec3 base = texture(albedo, texel).rgb;
  if (show == 0) base *= shading;
  if (show == 2) base = vec3(0.9 * shading);
  if (show == 3) base = (camFromWorld * n) * 0.5 + 0.5;
  colour = vec4(base, 1.0);
}`;

const LINE_VERTEX = `#version 300 es
uniform mat4 clipFromWorld;
in vec3 position;
void main() {
  gl_Position = clipFromWorld * vec4(position, 1.0);
  gl_PointSize = 7.0;
}`;

const LINE_FRAGMENT = `#version 300 es
precision highp float;
uniform vec4 tint;
out vec4 colour;
void main() { colour = tint; }`;

const SHOWN = ["lit", "colours", "shading", "normals"];
const MIN_DISTANCE = 3, MAX_DISTANCE = 40;  // of the camera, world units
const FOV_Y = 25 * Math.PI / 180, MIN_FOV_X = 22 * Math.PI / 180;

function program(gl, vertex, fragment) {
  const linked = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) {
      throw new Error(gl.getShaderInfoLog(shader));
    }
    gl.attachShader(linked, shader);
  }
  gl.linkProgram(linked);
  if (!gl.getProgramParameter(linked, gl.LINK_STATUS)) {
    throw new Error(gl.getProgramInfoLog(linked));
  }
  return linked;
}

function perspective(aspect) {
  // A narrow window keeps the width in view instead of the height.
  const tangentY = Math.max(Math.tan(FOV_Y / 2), Math.tan(MIN_FOV_X / 2) / aspect);
  const near = 0.1, far = 1000;
  return new Float32Array([
    1 / (tangentY * aspect), 0, 0, 0, 0, 1 / tangentY, 0, 0,
    0, 0, -(far + near) / (far - near), -1, 0, 0, -2 * far * near / (far - near), 0,
  ]);
}

class Viewer {
  // Becomes ready once the texture is decoded: `await Viewer.open(canvas, bytes)`.
  static async open(canvas, bytes) {
    const glb = parseGlb(bytes);
    const {bufferView, mimeType} = glb.json.images[0];
    const picture = await createImageBitmap(new Blob([readView(glb, bufferView)], {type: mimeType}));
    return new Viewer(canvas, glb, picture);
  }

  constructor(canvas, glb, picture) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", {antialias: true, alpha: true});
    if (!this.gl) throw new Error("this browser has no WebGL 2, which the 3D view needs");
    this.rig = new Rig(glb);
    this.motion = "photograph";  // or "rest", or the number of a clip
    this.time = 0;
    this.playing = true;
    this.turning = false;
    this.bones = false;
    this.show = "lit";
    const {ambient_light: ambient, diffuse_light: diffuse} = glb.json.asset.extras;
    this.photographedLight = {ambient, diffuse};
    this.light = {ambient, diffuse};  // with yaw and pitch once somebody has moved it
    this.turns = new Map();  // what joints turn beside their pose, see setJoint
    this.marked = null;  // a joint whose bone is drawn
    this.cameraNode = this.rig.nodes.findIndex((node) => node.camera !== undefined);
    this.lightNode = this.rig.nodes.findIndex((node) => node.name === "light");
    this._load(glb, picture);
    this.seeAsPhotographed();
    this._listen();
  }

  _load(glb, picture) {
    const gl = this.gl, {attributes, indices} = glb.json.meshes[0].primitives[0];
    const numJoints = this.rig.joints.length;
    this.meshProgram = program(gl, MESH_VERTEX.replace("NUM_JOINTS", numJoints), MESH_FRAGMENT);
    this.lineProgram = program(gl, LINE_VERTEX, LINE_FRAGMENT);
    this.mesh = gl.createVertexArray();
    gl.bindVertexArray(this.mesh);
    const names = {position: "POSITION", normal: "NORMAL", uv: "TEXCOORD_0", weights: "WEIGHTS_0",
                   joints: "JOINTS_0"};
    for (const [name, attribute] of Object.entries(names)) {
      const values = readAccessor(glb, attributes[attribute]);
      const width = WIDTH_OF[glb.json.accessors[attributes[attribute]].type];
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      const location = gl.getAttribLocation(this.meshProgram, name);
      gl.enableVertexAttribArray(location);
      if (name === "joints") {
        const type = values instanceof Uint8Array ? gl.UNSIGNED_BYTE : gl.UNSIGNED_SHORT;
        gl.vertexAttribIPointer(location, width, type, 0, 0);
      } else {
        gl.vertexAttribPointer(location, width, gl.FLOAT, false, 0, 0);
      }
    }
    const faces = Uint32Array.from(readAccessor(glb, indices));
    this.numIndices = faces.length;
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
    this.lines = gl.createVertexArray();
    gl.bindVertexArray(this.lines);
    this.lineBuffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.enableVertexAttribArray(gl.getAttribLocation(this.lineProgram, "position"));
    gl.vertexAttribPointer(
        gl.getAttribLocation(this.lineProgram, "position"), 3, gl.FLOAT, false, 0, 0);
    gl.bindVertexArray(null);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    const bounds = glb.json.accessors[attributes.POSITION];
    this.ground = bounds.min[1];
  }

  // The camera of the photograph, until somebody drags.
  seeAsPhotographed() {
    this.orbit = null;
    this.turning = false;
    this.canvas.dispatchEvent(new Event("view"));
  }

  // Where the camera stands around the animal: radians from its front and above its horizon.
  get view() {
    if (this.orbit) return this.orbit;
    const root = this.rig.nodes[this.rig.joints[0]].translation;
    const eye = this.rig.worldFromNodes()[this.cameraNode].subarray(12, 15);
    const [x, y, z] = [0, 1, 2].map((i) => eye[i] - root[i]);
    const distance = Math.hypot(x, y, z);
    return {yaw: Math.atan2(x, z), pitch: Math.asin(y / distance), distance};
  }

  seeFrom({yaw, pitch, distance}) {
    this.orbit = {
      yaw: yaw - 2 * Math.PI * Math.round(yaw / (2 * Math.PI)),
      pitch: Math.min(1.5, Math.max(-1.5, pitch)),
      distance: Math.min(MAX_DISTANCE, Math.max(MIN_DISTANCE, distance)),
    };
    this.canvas.dispatchEvent(new Event("view"));
  }

  turnBy(yaw, pitch) {
    const view = this.view;
    this.seeFrom({...view, yaw: view.yaw + yaw, pitch: view.pitch + pitch});
  }

  zoomBy(factor) {
    const view = this.view;
    this.seeFrom({...view, distance: view.distance * factor});
  }

  // Turns a joint beside its pose, by angles (radians) about the axes of its bone.
  setJoint(joint, angles) {
    if (angles.some((angle) => angle)) this.turns.set(joint, this.rig.turnOf(joint, angles));
    else this.turns.delete(joint);
  }

  _listen() {
    const canvas = this.canvas, pointers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      canvas.dispatchEvent(new Event("taken"));
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const others = [...pointers.values()].filter((p) => p.pointerId !== event.pointerId);
      if (others.length) {  // two fingers: zoom by the change of their distance
        const reach = (p) => Math.hypot(
            p.clientX - others[0].clientX, p.clientY - others[0].clientY);
        this.zoomBy(reach(last) / Math.max(1, reach(event)));
      } else {
        this.turnBy(0.008 * (last.clientX - event.clientX), 0.008 * (event.clientY - last.clientY));
      }
      pointers.set(event.pointerId, event);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(0.001 * event.deltaY));
    }, {passive: false});
    canvas.addEventListener("keydown", (event) => {
      const moves = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1],
                     ArrowDown: [0, -0.1]};
      if (event.key in moves) this.turnBy(...moves[event.key]);
      else if (event.key === "+") this.zoomBy(0.9);
      else if (event.key === "-") this.zoomBy(1 / 0.9);
      else return;
      event.preventDefault();
    });
  }

  _pose() {
    let pose = new Map();
    if (this.motion === "rest") pose = this.rig.restPose();
    else if (this.motion !== "photograph") {
      pose = this.rig.loopedPoseOf(this.rig.clips[this.motion], this.time);
    }
    return this.rig.turned(pose, this.turns);
  }

  // Unit vector towards the light, in the world.
  _towardsLight(world) {
    const {yaw, pitch} = this.light;
    if (yaw !== undefined) {
      const level = Math.cos(pitch);
      return [Math.sin(yaw) * level, Math.sin(pitch), Math.cos(yaw) * level];
    }
    return this.lightNode < 0 ? [0, 1, 0] : world[this.lightNode].subarray(8, 11);
  }

  // The light as angles, like those of `view`.
  get lightView() {
    const [x, y, z] = this._towardsLight(this.rig.worldFromNodes());
    return {yaw: Math.atan2(x, z), pitch: Math.asin(Math.min(1, Math.max(-1, y)))};
  }

  _camera(world) {
    const photographed = world[this.cameraNode];
    const root = world[this.rig.joints[0]].subarray(12, 15);
    const home = this.rig.nodes[this.rig.joints[0]].translation;
    let worldFromCam = Float32Array.from(photographed);
    if (this.orbit) {
      const {yaw, pitch, distance} = this.orbit;
      const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
      worldFromCam.set([cy, 0, -sy, 0, -sy * sp, cp, -cy * sp, 0, sy * cp, sp, cy * cp, 0]);
      worldFromCam.set([
        home[0] + distance * sy * cp, home[1] + distance * sp, home[2] + distance * cy * cp], 12);
    }
    worldFromCam[12] += root[0] - home[0];  // goes along with an animal that walks away
    worldFromCam[14] += root[2] - home[2];
    return invertRigid(worldFromCam);
  }

  // Draws the current state.
  draw() {
    const gl = this.gl, canvas = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const world = this.rig.worldFromNodes(this._pose());
    const camFromWorld = this._camera(world);
    const clipFromWorld = multiply(perspective(width / height), camFromWorld);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    this._drawGround(clipFromWorld, world[this.rig.joints[0]]);
    this._drawMesh(clipFromWorld, camFromWorld, world);
    if (this.bones) this._drawBones(clipFromWorld, world, this.rig.joints, [1.0, 0.45, 0.1, 1.0]);
    if (this.marked !== null) {
      this._drawBones(clipFromWorld, world, [this.marked], [0.1, 0.35, 1.0, 1.0]);
    }
  }

  _drawBones(clipFromWorld, world, joints, tint) {
    this.gl.disable(this.gl.DEPTH_TEST);
    const points = this.rig.boneLines(world, joints);
    this._drawLines(clipFromWorld, points, tint);
    this.gl.drawArrays(this.gl.POINTS, 0, points.length / 3);
  }

  _drawMesh(clipFromWorld, camFromWorld, world) {
    const gl = this.gl, at = (name) => gl.getUniformLocation(this.meshProgram, name);
    gl.useProgram(this.meshProgram);
    gl.bindVertexArray(this.mesh);
    gl.uniformMatrix4fv(at("clipFromWorld"), false, clipFromWorld);
    gl.uniformMatrix4fv(at("worldFromRest"), false, this.rig.jointMatrices(world));
    gl.uniformMatrix3fv(at("camFromWorld"), false, [0, 1, 2, 4, 5, 6, 8, 9, 10].map(
        (i) => camFromWorld[i]));
    gl.uniform3fv(at("lightWorld"), this._towardsLight(world));
    gl.uniform2f(at("light"), this.light.ambient, this.light.diffuse);
    gl.uniform1i(at("show"), SHOWN.indexOf(this.show));
    gl.drawElements(gl.TRIANGLES, this.numIndices, gl.UNSIGNED_INT, 0);
  }

  _drawGround(clipFromWorld, root) {
    const points = [], size = 8, step = 0.5, y = this.ground;
    // A patch of a fixed grid that goes along with the animal.
    const x0 = Math.round(root[12] / step) * step, z0 = Math.round(root[14] / step) * step;
    for (let i = -size; i <= size; i++) {
      points.push(x0 + i * step, y, z0 - size * step, x0 + i * step, y, z0 + size * step);
      points.push(x0 - size * step, y, z0 + i * step, x0 + size * step, y, z0 + i * step);
    }
    this._drawLines(clipFromWorld, new Float32Array(points), [0.5, 0.5, 0.5, 0.35]);
  }

  _drawLines(clipFromWorld, points, tint) {
    const gl = this.gl;
    gl.useProgram(this.lineProgram);
    gl.bindVertexArray(this.lines);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, points, gl.DYNAMIC_DRAW);
    gl.uniformMatrix4fv(
        gl.getUniformLocation(this.lineProgram, "clipFromWorld"), false, clipFromWorld);
    gl.uniform4fv(gl.getUniformLocation(this.lineProgram, "tint"), tint);
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArrays(gl.LINES, 0, points.length / 3);
    gl.disable(gl.BLEND);
  }

  // Draws at every frame of the display from now on.
  run() {
    let last = performance.now();
    const frame = (now) => {
      const seconds = Math.min(0.1, (now - last) / 1000);
      last = now;
      if (this.playing) this.time += seconds;
      if (this.turning) this.turnBy(0.5 * seconds, 0);
      this.draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }
}
