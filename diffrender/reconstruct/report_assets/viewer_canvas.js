"use strict";
// Draws the scene on a 2D canvas: flat triangles, farthest first (painter's algorithm).

function makeCanvasRenderer(canvas, scene, changed) {
  const context = canvas.getContext("2d");
  const shades = scene.objects.map((object) => {
    const count = object.indexData.length / 3, colours = new Float32Array(count * 3).fill(163);
    const fill = (colourAt) => {
      for (let f = 0; f < count; f++) colours.set(colourAt([0, 1, 2].map((k) => object.indexData[f * 3 + k])), f * 3);
    };
    if (object.colourData) {
      fill((face) => [0, 1, 2].map((c) => face.reduce((sum, v) => sum + object.colourData[v * 3 + c], 0) / 3));
    }
    if (object.picture) {
      object.picture.then((picture) => {
        const { width, height } = picture;
        const copy = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
        copy.drawImage(picture, 0, 0);
        const pixels = copy.getImageData(0, 0, width, height).data;
        fill((face) => {
          const u = face.reduce((sum, v) => sum + object.uvData[v * 2], 0) / 3;
          const v = face.reduce((sum, i) => sum + object.uvData[i * 2 + 1], 0) / 3;
          const x = Math.min(width - 1, Math.max(0, Math.floor(u * width)));
          const y = Math.min(height - 1, Math.max(0, Math.floor(v * height)));
          const at = (y * width + x) * 4;
          return [pixels[at], pixels[at + 1], pixels[at + 2]];
        });
        changed();
      });
    }
    return colours;
  });
  const lines = sceneLines(scene);
  const rgb = (r, g, b) => `rgb(${Math.round(r)},${Math.round(g)},${Math.round(b)})`;

  function draw(projection, view, show, style) {
    const { width, height } = canvas, whole = multiply(projection, view);
    context.clearRect(0, 0, width, height);
    const screen = (p) => [(p[0] / p[3] * 0.5 + 0.5) * width, (0.5 - p[1] / p[3] * 0.5) * height];

    function drawLines(kinds) {
      for (const line of lines) {
        if (!show[line.kind] || !kinds.includes(line.kind)) continue;
        context.strokeStyle = rgb(...(line.colour || style.grid));
        context.lineWidth = line.kind === "grid" ? 1 : 2;
        context.beginPath();
        for (let i = 0; i < line.positions.length; i += 6) {
          let a = transform(whole, line.positions.subarray(i, i + 3));
          let b = transform(whole, line.positions.subarray(i + 3, i + 6));
          if (a[3] < NEAR && b[3] < NEAR) continue;
          const cut = () => { const s = (NEAR - a[3]) / (b[3] - a[3]); return a.map((x, k) => x + s * (b[k] - x)); };
          if (a[3] < NEAR) a = cut(); else if (b[3] < NEAR) b = cut();
          context.moveTo(...screen(a));
          context.lineTo(...screen(b));
        }
        context.stroke();
      }
    }

    drawLines(["grid"]);
    if (show.points) {
      const step = Math.max(1, Math.ceil(scene.pointData.length / 3 / 8000)), size = height / 250;
      for (let i = 0; i < scene.pointData.length; i += 3 * step) {
        const p = transform(whole, scene.pointData.subarray(i, i + 3));
        if (p[3] < NEAR || Math.abs(p[0]) > p[3] || Math.abs(p[1]) > p[3]) continue;
        context.fillStyle = rgb(...scene.pointColourData.subarray(i, i + 3));
        context.fillRect(...screen(p), size, size);
      }
    }
    const faces = [];
    let triangles = 0;
    scene.objects.forEach((object, number) => {
      if (!show.objects) return;
      const all = multiply(whole, new Float32Array(object.matrix)), corners = [];
      for (let i = 0; i < object.positionData.length; i += 3) {
        corners.push(transform(all, object.positionData.subarray(i, i + 3)));
      }
      triangles += object.indexData.length / 3;
      for (let f = 0; f < object.indexData.length; f += 3) {
        const [a, b, c] = [0, 1, 2].map((k) => corners[object.indexData[f + k]]);
        if (Math.min(a[3], b[3], c[3]) < NEAR) continue;
        const [p, q, r] = [screen(a), screen(b), screen(c)];
        const area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
        if (area < 0) faces.push({ depth: a[3] + b[3] + c[3], p, q, r, colour: shades[number].subarray(f, f + 3) });
      }
    });
    faces.sort((one, other) => other.depth - one.depth);
    for (const face of faces) {
      context.fillStyle = context.strokeStyle = rgb(...face.colour);
      context.lineWidth = 1; // closes the seams between neighbours
      context.beginPath();
      context.moveTo(...face.p);
      context.lineTo(...face.q);
      context.lineTo(...face.r);
      context.closePath();
      context.fill();
      context.stroke();
    }
    drawLines(["boxes", "frustum"]);
    return triangles;
  }

  const colours = () => distinct(context.getImageData(0, 0, canvas.width, canvas.height).data);
  return { name: "canvas2d", draw, colours };
}
