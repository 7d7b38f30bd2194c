"use strict";
// Column-major 4x4 matrices and small vectors. World axes: x right, y up, z backward, metres.

const NEAR = 0.1, FAR = 1500;

function multiply(a, b) {
  const out = new Float32Array(16);
  for (let c = 0; c < 4; c++) {
    for (let r = 0; r < 4; r++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += a[k * 4 + r] * b[c * 4 + k];
      out[c * 4 + r] = sum;
    }
  }
  return out;
}

function transform(m, p) {
  const out = [0, 0, 0, 0];
  for (let r = 0; r < 4; r++) out[r] = m[r] * p[0] + m[4 + r] * p[1] + m[8 + r] * p[2] + m[12 + r];
  return out;
}

const subtract = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0],
];
const unit = (a) => { const n = Math.hypot(...a) || 1; return a.map((x) => x / n); };

function lookAt(eye, target, up) {
  const back = unit(subtract(eye, target));
  const right = unit(cross(up, back));
  const top = cross(back, right);
  return new Float32Array([
    right[0], top[0], back[0], 0, right[1], top[1], back[1], 0, right[2], top[2], back[2], 0,
    -dot(right, eye), -dot(top, eye), -dot(back, eye), 1,
  ]);
}

function depthRows(m) {
  m[10] = -(FAR + NEAR) / (FAR - NEAR);
  m[11] = -1;
  m[14] = -2 * FAR * NEAR / (FAR - NEAR);
  return m;
}

function perspective(fieldOfView, aspect) {
  const m = new Float32Array(16);
  m[5] = 1 / Math.tan(fieldOfView / 2);
  m[0] = m[5] / aspect;
  return depthRows(m);
}

// The image's own projection, letterboxed into a stage of width x height.
function photoProjection(camera, width, height) {
  const k = camera.intrinsics;
  const s = Math.min(width / camera.width, height / camera.height);
  const x = (width - s * camera.width) / 2, y = (height - s * camera.height) / 2;
  const m = new Float32Array(16);
  m[0] = 2 * s * k[0][0] / width;
  m[4] = -2 * s * k[0][1] / width;
  m[8] = 1 - 2 * (s * k[0][2] + x) / width;
  m[5] = 2 * s * k[1][1] / height;
  m[9] = 2 * (s * k[1][2] + y) / height - 1;
  return depthRows(m);
}

// World (y up) to the photo camera's axes (y up, looking along -z).
function photoView(camera) {
  const r = camera.rotation, t = camera.translation, flip = [1, -1, -1];
  const m = new Float32Array(16);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) m[j * 4 + i] = flip[i] * r[i][j] * flip[j];
    m[12 + i] = flip[i] * t[i];
  }
  m[15] = 1;
  return m;
}

function decode(text, Type) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

// Line segments as flat [x, y, z, ...] with one colour; built once from the scene's record.
function sceneLines(scene) {
  const lines = [], ground = scene.ground, grid = [];
  const [left, right, near, far] = ground.extent;
  const y = (z) => -(ground.height + ground.slope * z);
  const step = far > 60 ? 5 : 2;
  for (let x = Math.ceil(left / step) * step; x <= right; x += step) {
    grid.push(x, y(near), -near, x, y(far), -far);
  }
  for (let z = Math.ceil(near / step) * step; z <= far; z += step) {
    grid.push(left, y(z), -z, right, y(z), -z);
  }
  lines.push({ kind: "grid", colour: null, positions: new Float32Array(grid) });
  const edges = [0, 1, 1, 2, 2, 3, 3, 0, 4, 5, 5, 6, 6, 7, 7, 4, 0, 4, 1, 5, 2, 6, 3, 7, 0, 5, 1, 4];
  for (const item of scene.objects) {
    const positions = new Float32Array(edges.flatMap((i) => item.box[i]));
    lines.push({ kind: "boxes", colour: item.colour, positions });
  }
  const f = scene.frustum, o = f[0];
  const rays = [1, 2, 3, 4].flatMap((i) => [...o, ...f[i], ...f[i], ...f[i % 4 + 1]]);
  lines.push({ kind: "frustum", colour: [235, 140, 40], positions: new Float32Array(rays) });
  return lines;
}
