// A mesh, the bands of its image, and what is known of its faces before anything is drawn.
//
// An image is cut into bands of rows whose depths fit the cache; each band has the list of faces
// that may touch it, in face order. A pixel never depends on how the rows are cut, so neither do
// the bits on the threads.
#pragma once

#include "raster.h"

namespace diffrender {

constexpr int64_t kBandEntries = 8192;      // depths (16 bytes with their slots) in one band, at most
constexpr int64_t kLeastEntries = 4096;     // and at least, where an image is cut for its threads
constexpr int64_t kFacesEach = 1024;        // faces whose bounds one task works out

struct Image {
  int64_t height, width, layers, band_rows, bands;
  bool cull;

  Image(int64_t height, int64_t width, int64_t layers, bool cull)
      : height(height), width(width), layers(layers), cull(cull) {
    const int64_t quarter = height * width * layers / 4;
    const int64_t entries = std::max(kLeastEntries, std::min(kBandEntries, quarter));
    band_rows = std::min(std::max<int64_t>(1, entries / (width * layers)), height);
    bands = (height + band_rows - 1) / band_rows;
  }
};

// One mesh and what is known of it before anything is drawn.
template <class T>
struct Scene {
  const T* h;
  const int64_t* faces;
  int64_t mesh, vertex0, vertex1, face0, face1;
  std::vector<Pixel> pixels;     // of each vertex
  std::vector<Bounds> bounds;    // of each face; empty where it draws nothing
  std::vector<int32_t> start;    // of each band's list, and its end
  std::vector<int32_t> list;     // faces, from 0

  int64_t project(int64_t low, int64_t high, int64_t& culprit) {
    for (int64_t v = low; v < high; ++v) {
      const Vec3 p = load(h, vertex0 + v);
      if (!std::isfinite(p.x + p.y + p.z)) {
        culprit = vertex0 + v;
        return kNotFinite;
      }
      pixels[v] = to_pixel(p);
    }
    return kDone;
  }

  int64_t bound(int64_t low, int64_t high, const Image& image, int64_t& culprit) {
    const uint64_t count = uint64_t(vertex1 - vertex0);
    for (int64_t f = low; f < high; ++f) {
      const int64_t* v = faces + 3 * (face0 + f);
      const uint64_t a = uint64_t(v[0] - vertex0), b = uint64_t(v[1] - vertex0),
                     c = uint64_t(v[2] - vertex0);
      if (a >= count || b >= count || c >= count) {
        culprit = face0 + f;
        return kBadIndex;
      }
      const Vec3 corner[3] = {load(h, v[0]), load(h, v[1]), load(h, v[2])};
      const Pixel p[3] = {pixels[a], pixels[b], pixels[c]};
      Bounds& box = bounds[f];
      if (image.cull && ahead(corner)) {
        // Clearly turned away; what is nearly edge-on is left to the exact determinant.
        const double turn =
            (p[1].x - p[0].x) * (p[2].y - p[0].y) - (p[1].y - p[0].y) * (p[2].x - p[0].x);
        if (turn > 1e-3) {
          box = {0, -1, 0, -1};
          continue;
        }
      }
      box = bounds_of(corner, p, image.height, image.width);
    }
    return kDone;
  }

  // Deals the faces to the bands they may touch, in face order.
  void deal(const Image& image) {
    start.assign(image.bands + 1, 0);
    for (const Bounds& box : bounds) {
      if (box.empty()) continue;
      for (int64_t k = box.top / image.band_rows; k <= box.bottom / image.band_rows; ++k)
        ++start[k + 1];
    }
    for (int64_t k = 0; k < image.bands; ++k) start[k + 1] += start[k];
    list.resize(start[image.bands]);
    std::vector<int32_t> next(start.begin(), start.end() - 1);
    for (size_t f = 0; f < bounds.size(); ++f) {
      const Bounds& box = bounds[f];
      if (box.empty()) continue;
      for (int64_t k = box.top / image.band_rows; k <= box.bottom / image.band_rows; ++k)
        list[next[k]++] = int32_t(f);
    }
  }
};

}  // namespace diffrender
