"use strict";
// Draws the scene with WebGL 1. Returns null where it is not available.

const MESH_VERTEX = `
attribute vec3 position; attribute vec3 normal; attribute vec2 uv; attribute vec3 colour;
uniform mat4 projection; uniform mat4 view; uniform mat4 model;
varying vec3 turned; varying vec2 at; varying vec3 tint;
void main() {
  turned = mat3(view[0].xyz, view[1].xyz, view[2].xyz)
    * mat3(model[0].xyz, model[1].xyz, model[2].xyz) * normal;
  at = uv; tint = colour;
  gl_Position = projection * view * model * vec4(position, 1.0);
}`;
const MESH_FRAGMENT = `
precision mediump float;
uniform sampler2D picture; uniform float textured;
varying vec3 turned; varying vec2 at; varying vec3 tint;
void main() {
  vec3 base = mix(tint, texture2D(picture, at).rgb, textured);
  float light = 0.72 + 0.28 * max(dot(normalize(turned), normalize(vec3(0.3, 0.8, 0.5))), 0.0);
  gl_FragColor = vec4(base * light, 1.0);
}`;
const FLAT_VERTEX = `
attribute vec3 position; attribute vec3 colour;
uniform mat4 projection; uniform mat4 view; uniform vec2 offset; uniform float size;
varying vec3 tint;
void main() {
  tint = colour;
  gl_Position = projection * view * vec4(position, 1.0);
  gl_Position.xy += offset * gl_Position.w;
  gl_PointSize = clamp(size / gl_Position.w, 1.5, 7.0);
}`;
const FLAT_FRAGMENT = `
precision mediump float;
uniform vec3 plain; uniform float own;
varying vec3 tint;
void main() { gl_FragColor = vec4(mix(plain, tint, own), 1.0); }`;

function makeWebglRenderer(canvas, scene, changed) {
  const gl = canvas.getContext("webgl", { antialias: true, alpha: true });
  if (!gl || !gl.getExtension("OES_element_index_uint")) return null;

  function program(vertex, fragment) {
    const result = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(result, shader);
    }
    gl.linkProgram(result);
    const places = {};
    for (const name of ["position", "normal", "uv", "colour"]) places[name] = gl.getAttribLocation(result, name);
    for (const name of ["projection", "view", "model", "picture", "textured", "offset", "size", "plain", "own"]) {
      places["$" + name] = gl.getUniformLocation(result, name);
    }
    return { program: result, ...places };
  }

  function buffer(data, target = gl.ARRAY_BUFFER) {
    const result = gl.createBuffer();
    gl.bindBuffer(target, result);
    gl.bufferData(target, data, gl.STATIC_DRAW);
    return result;
  }

  function bind(place, data, count, type = gl.FLOAT, normalised = false) {
    if (place < 0) return;
    if (!data) { gl.disableVertexAttribArray(place); gl.vertexAttrib3f(place, 0.62, 0.64, 0.66); return; }
    gl.enableVertexAttribArray(place);
    gl.bindBuffer(gl.ARRAY_BUFFER, data);
    gl.vertexAttribPointer(place, count, type, normalised, 0, 0);
  }

  const meshes = program(MESH_VERTEX, MESH_FRAGMENT), flat = program(FLAT_VERTEX, FLAT_FRAGMENT);
  const blank = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, blank);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array([160, 164, 168, 255]));

  const items = scene.objects.map((object) => {
    const item = {
      model: new Float32Array(object.matrix), count: object.indexData.length, texture: blank,
      position: buffer(object.positionData), normal: buffer(object.normalData),
      uv: object.uvData && buffer(object.uvData), colour: object.colourData && buffer(object.colourData),
      index: buffer(object.indexData, gl.ELEMENT_ARRAY_BUFFER), textured: object.picture ? 1 : 0,
    };
    if (object.picture) {
      object.picture.then((picture) => {
        item.texture = gl.createTexture();
        gl.bindTexture(gl.TEXTURE_2D, item.texture);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
        for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
        changed();
      });
    }
    return item;
  });
  const lines = sceneLines(scene).map((l) => ({ ...l, data: buffer(l.positions), count: l.positions.length / 3 }));
  const points = { count: scene.pointData.length / 3, position: buffer(scene.pointData), colour: buffer(scene.pointColourData) };

  function draw(projection, view, show, style) {
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    let triangles = 0;
    if (show.objects) {
      gl.useProgram(meshes.program);
      gl.uniformMatrix4fv(meshes.$projection, false, projection);
      gl.uniformMatrix4fv(meshes.$view, false, view);
      gl.uniform1i(meshes.$picture, 0);
      for (const item of items) {
        gl.uniformMatrix4fv(meshes.$model, false, item.model);
        gl.uniform1f(meshes.$textured, item.textured);
        gl.bindTexture(gl.TEXTURE_2D, item.texture);
        bind(meshes.position, item.position, 3);
        bind(meshes.normal, item.normal, 3);
        bind(meshes.uv, item.uv, 2);
        bind(meshes.colour, item.colour, 3, gl.UNSIGNED_BYTE, true);
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, item.index);
        gl.drawElements(gl.TRIANGLES, item.count, gl.UNSIGNED_INT, 0);
        triangles += item.count / 3;
      }
      for (const name of ["position", "normal", "uv", "colour"]) {
        if (meshes[name] >= 0) gl.disableVertexAttribArray(meshes[name]);
      }
    }
    gl.useProgram(flat.program);
    gl.uniformMatrix4fv(flat.$projection, false, projection);
    gl.uniformMatrix4fv(flat.$view, false, view);
    gl.uniform2f(flat.$offset, 0, 0);
    if (show.points && points.count) {
      gl.uniform1f(flat.$own, 1);
      gl.uniform1f(flat.$size, canvas.height * 0.05);
      bind(flat.position, points.position, 3);
      bind(flat.colour, points.colour, 3, gl.UNSIGNED_BYTE, true);
      gl.drawArrays(gl.POINTS, 0, points.count);
    }
    gl.uniform1f(flat.$own, 0);
    for (const line of lines) {
      if (!show[line.kind]) continue;
      const colour = line.colour || style.grid;
      gl.uniform3f(flat.$plain, colour[0] / 255, colour[1] / 255, colour[2] / 255);
      bind(flat.position, line.data, 3);
      bind(flat.colour, null, 3);
      // Lines are one pixel wide everywhere; shifted copies make the boxes stand out.
      const shifts = line.kind === "grid" ? [[0, 0]] : [[0, 0], [1, 0], [0, 1], [1, 1]];
      for (const [x, y] of shifts) {
        gl.uniform2f(flat.$offset, 2 * x / canvas.width, 2 * y / canvas.height);
        gl.drawArrays(gl.LINES, 0, line.count);
      }
    }
    return triangles;
  }

  // Distinct colours of the frame just drawn (coarsened); to be called right after draw.
  function colours() {
    const pixels = new Uint8Array(canvas.width * canvas.height * 4);
    gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return distinct(pixels);
  }
  return { name: "webgl", draw, colours };
}

function distinct(pixels) {
  const seen = new Set();
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3]) seen.add((pixels[i] >> 3) << 10 | (pixels[i + 1] >> 3) << 5 | pixels[i + 2] >> 3);
  }
  return seen.size;
}
