"use strict";
// The interactive view: reads the scene's record, picks a renderer, and moves the eye.

(function () {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const stage = document.getElementById("view"), photo = document.getElementById("photo");
  let canvas = document.getElementById("canvas");
  const show = { objects: true, boxes: true, points: true, names: true, photo: true, grid: true, frustum: true };

  for (const object of scene.objects) {
    object.positionData = decode(object.positions, Float32Array);
    object.normalData = decode(object.normals, Float32Array);
    object.indexData = decode(object.indices, Uint32Array);
    object.uvData = object.uv && decode(object.uv, Float32Array);
    object.colourData = object.colours && decode(object.colours, Uint8Array);
    if (object.texture) {
      const picture = new Image();
      picture.src = object.texture;
      object.picture = picture.decode().then(() => picture);
    }
  }
  scene.pointData = Float32Array.from(decode(scene.points.centimetres, Int16Array), (v) => v / 100);
  scene.pointColourData = decode(scene.points.colours, Uint8Array);

  // The eye: around `target`, `turn` about the vertical (0 looks along -z), `rise` above it.
  const eye = { target: [0, 0, -12], distance: 20, turn: 0.5, rise: 0.4, photo: false };
  const near = [...scene.objects].sort((a, b) => b.centre[2] - a.centre[2]).slice(0, 6);

  function home() {
    if (near.length) {
      const middle = [0, 1, 2].map((k) => near.reduce((sum, o) => sum + o.centre[k], 0) / near.length);
      const spread = Math.max(...near.map((o) => Math.hypot(...subtract(o.centre, middle))));
      Object.assign(eye, { target: middle, distance: Math.min(90, 9 + 1.5 * spread) });
    }
    Object.assign(eye, { turn: 0.45, rise: 0.42, photo: false });
  }
  const views = {
    orbit: home,
    camera: () => { eye.photo = true; },
    above: () => { home(); Object.assign(eye, { turn: 0, rise: Math.PI / 2 - 0.001, distance: eye.distance * 1.25 }); },
  };

  function matrices() {
    const { width, height } = canvas;
    if (eye.photo) return [photoProjection(scene.camera, width, height), photoView(scene.camera)];
    const flat = Math.cos(eye.rise) * eye.distance;
    const from = [
      eye.target[0] + Math.sin(eye.turn) * flat, eye.target[1] + Math.sin(eye.rise) * eye.distance,
      eye.target[2] + Math.cos(eye.turn) * flat,
    ];
    return [perspective(0.8, width / height), lookAt(from, eye.target, [0, 1, 0])];
  }

  let renderer = null, wanted = false, settled = false;
  const changed = () => { if (!wanted) { wanted = true; requestAnimationFrame(frame); } };
  try {
    if (location.hash !== "#canvas2d") renderer = makeWebglRenderer(canvas, scene, changed);
  } catch (error) {
    console.warn("WebGL failed, drawing on a 2D canvas:", error);
  }
  if (!renderer) {
    // A canvas keeps the kind of its first context, so the fallback takes a fresh one.
    const fresh = canvas.cloneNode();
    canvas.replaceWith(fresh);
    canvas = fresh;
    renderer = makeCanvasRenderer(canvas, scene, changed);
  }

  const labels = scene.objects.map((object) => {
    const label = document.createElement("span");
    label.textContent = object.name;
    label.style.borderColor = `rgb(${object.colour})`;
    return document.getElementById("names").appendChild(label);
  });

  function placeNames(whole) {
    scene.objects.forEach((object, i) => {
      const p = transform(whole, object.top);
      labels[i].hidden = !show.names || p[3] < NEAR || Math.abs(p[0]) > p[3] * 1.05 || Math.abs(p[1]) > p[3] * 1.05;
      if (labels[i].hidden) return;
      const x = (p[0] / p[3] * 0.5 + 0.5) * stage.clientWidth, y = (0.5 - p[1] / p[3] * 0.5) * stage.clientHeight;
      labels[i].style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(-50%, -130%)`;
      labels[i].style.zIndex = String(Math.max(1, 10000 - Math.round(p[3] * 10)));
    });
  }

  function frame() {
    wanted = false;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(stage.clientWidth * ratio));
    const height = Math.max(1, Math.round(stage.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const [projection, view] = matrices(), overPhoto = eye.photo && show.photo;
    const grey = getComputedStyle(document.documentElement).getPropertyValue("--grid").trim();
    const grid = [1, 3, 5].map((i) => parseInt(grey.slice(i, i + 2), 16));
    const visible = { ...show, frustum: !eye.photo };
    if (overPhoto) Object.assign(visible, { grid: false, points: false });
    photo.hidden = !overPhoto;
    canvas.dataset.drawn = `${renderer.draw(projection, view, visible, { grid })} triangles`;
    if (settled) { canvas.dataset.colours = String(renderer.colours()); settled = false; }
    placeNames(multiply(projection, view));
  }

  function press(name) {
    for (const button of document.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === name));
    }
  }
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => { views[button.dataset.view](); press(button.dataset.view); changed(); });
  }
  for (const box of document.querySelectorAll("[data-show]")) {
    show[box.dataset.show] = box.checked; // a reloaded page keeps its ticks
    box.addEventListener("change", () => { show[box.dataset.show] = box.checked; changed(); });
  }
  for (const row of document.querySelectorAll("tr[data-object]")) {
    row.addEventListener("click", () => {
      Object.assign(eye, { target: [...scene.objects[row.dataset.object].centre], distance: 9, rise: 0.3, photo: false });
      press("");
      stage.scrollIntoView({ behavior: "smooth", block: "center" });
      changed();
    });
  }

  function leavePhoto() {
    if (!eye.photo) return;
    Object.assign(eye, { photo: false, turn: 0, rise: 0.12 });
    press("");
  }
  function orbit(dx, dy) {
    leavePhoto();
    eye.turn -= dx * 0.006;
    eye.rise = Math.min(Math.PI / 2 - 0.001, Math.max(-0.2, eye.rise + dy * 0.006));
  }
  function pan(dx, dy) {
    leavePhoto();
    const view = matrices()[1], step = eye.distance * 0.85 / stage.clientHeight;
    for (let k = 0; k < 3; k++) eye.target[k] += step * (-dx * view[k * 4] + dy * view[k * 4 + 1]);
  }
  function zoom(factor) {
    leavePhoto();
    eye.distance = Math.min(400, Math.max(1.5, eye.distance * factor));
  }

  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const dx = event.clientX - last[0], dy = event.clientY - last[1];
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
      const after = Math.hypot(event.clientX - other[0], event.clientY - other[1]);
      if (before > 0 && after > 0) zoom(before / after);
      pan(dx / 2, dy / 2);
    } else if (event.shiftKey || event.buttons & 6) pan(dx, dy);
    else orbit(dx, dy);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    changed();
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.max(-80, Math.min(80, event.deltaY)) * 0.0022));
    changed();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => orbit(-20, 0), ArrowRight: () => orbit(20, 0), ArrowUp: () => orbit(0, 20),
      ArrowDown: () => orbit(0, -20), "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    changed();
  });

  new ResizeObserver(changed).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  if (location.hash === "#camera") { views.camera(); press("camera"); } else home();
  canvas.dataset.renderer = renderer.name;
  Promise.allSettled(scene.objects.map((object) => object.picture)).then(() => { settled = true; changed(); });
  changed();
})();
