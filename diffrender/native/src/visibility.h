// Hard visibility of packed meshes by bands of rows: what rasterize.cpp and draw.cpp share.
#pragma once

#include "bands.h"

namespace diffrender {

// Packed meshes and the image that each of them is drawn into.
template <class T>
struct Packed {
  const T* h;
  const int64_t *faces, *vertex_offsets, *face_offsets;
  int64_t meshes;
};

// Draws every mesh: `sink_of(b)` makes the sink of image b for one band, and `finish(scene, inner)`
// comes after a mesh's last band, free to use `inner` threads. Small batches share the bands among
// threads, large ones the meshes. A finish that fails returns its status.
template <class T, class SinkOf, class Finish>
int64_t draw_all(const Packed<T>& packed, const Image& image, int64_t threads, int64_t* culprit,
                 SinkOf&& sink_of, Finish&& finish) {
  const int64_t meshes = packed.meshes;
  const auto open = [&](Scene<T>& scene, int64_t b) {
    scene.h = packed.h;
    scene.faces = packed.faces;
    scene.mesh = b;
    scene.vertex0 = packed.vertex_offsets[b];
    scene.vertex1 = packed.vertex_offsets[b + 1];
    scene.face0 = packed.face_offsets[b];
    scene.face1 = packed.face_offsets[b + 1];
    scene.pixels.resize(scene.vertex1 - scene.vertex0);
    scene.bounds.resize(scene.face1 - scene.face0);
  };
  const auto draw = [&](const Scene<T>& scene, int64_t band) {
    const int64_t rows = image.band_rows;
    Band<T> work{scene, image, band * rows, std::min(image.height, (band + 1) * rows)};
    auto sink = sink_of(scene.mesh);
    work.run(scene.list.data() + scene.start[band], scene.list.data() + scene.start[band + 1], sink);
  };
  std::vector<int64_t> status(meshes, kDone), where(meshes, 0);
  if (meshes >= 2 * threads || threads <= 1) {
    parallel(threads, meshes, [&](int64_t b) {
      thread_local Scene<T> scene;  // its memory is kept between calls
      open(scene, b);
      status[b] = scene.project(0, scene.pixels.size(), where[b]);
      if (status[b] == kDone) status[b] = scene.bound(0, scene.bounds.size(), image, where[b]);
      if (status[b] != kDone) return;
      scene.deal(image);
      for (int64_t band = 0; band < image.bands; ++band) draw(scene, band);
      status[b] = finish(scene, 1);
    });
  } else {
    for (int64_t b = 0; b < meshes; ++b) {
      thread_local Scene<T> kept;
      Scene<T>& scene = kept;
      open(scene, b);
      const auto in_chunks = [&](int64_t size, auto&& work) {
        const int64_t chunks = (size + kFacesEach - 1) / kFacesEach;
        std::vector<int64_t> codes(chunks, kDone), places(chunks, 0);
        parallel(threads, chunks, [&](int64_t k) {
          codes[k] = work(k * kFacesEach, std::min(size, (k + 1) * kFacesEach), places[k]);
        });
        for (int64_t k = 0; k < chunks && status[b] == kDone; ++k) {
          status[b] = codes[k];
          where[b] = places[k];
        }
      };
      in_chunks(scene.pixels.size(), [&](int64_t low, int64_t high, int64_t& place) {
        return scene.project(low, high, place);
      });
      if (status[b] == kDone)
        in_chunks(scene.bounds.size(), [&](int64_t low, int64_t high, int64_t& place) {
          return scene.bound(low, high, image, place);
        });
      if (status[b] != kDone) break;
      scene.deal(image);
      parallel(threads, image.bands, [&](int64_t band) { draw(scene, band); });
      status[b] = finish(scene, threads);
      if (status[b] != kDone) break;
    }
  }
  for (int64_t b = 0; b < meshes; ++b) {
    if (status[b] == kDone) continue;
    *culprit = where[b];
    return status[b];
  }
  return kDone;
}

}  // namespace diffrender
