// What the rasterizer's kernels share: a face's edge functions and the pixels it may cover.
//
// Everything that decides which pixels belong to a face stands here once, so that the forward
// pass, the backward passes and every instruction set agree to the bit. Maths: rasterize.cpp.
#pragma once

#include <limits>

#include "common.h"

namespace diffrender {

// A projected vertex; `inverse` is 1 / z, or 0 at or behind the near plane.
struct Pixel {
  double x, y, inverse;
};

// Pixels that may be inside, inclusive; empty when left > right.
struct Bounds {
  int32_t left, right, top, bottom;
  bool empty() const { return left > right || top > bottom; }
  int64_t area() const { return empty() ? 0 : int64_t(right - left + 1) * (bottom - top + 1); }
};

struct Face {
  Vec3 edge[3];     // edge functions, positive inside
  Vec3 inverse;     // 1 / z = inverse . p
  double limit[3];  // inside means edge . p > limit: just under 0 on top and left edges, else 0
  double det;       // positive
  double farthest;  // 1 / z beyond which nothing is drawn: only faces that pass the near plane
  Bounds bounds;
  int64_t index;    // packed
};

// First and last pixel whose centre lies within [low, high], widened a little against rounding.
inline void span(double low, double high, int64_t size, int32_t& first, int32_t& last) {
  const double slack = 1e-3;
  first = int32_t(std::ceil(std::min(std::max(low - slack - 0.5, 0.0), double(size))));
  last = int32_t(std::floor(std::min(std::max(high + slack - 0.5, -1.0), double(size - 1))));
}

inline Pixel to_pixel(const Vec3& h) {
  return {h.x / h.z, h.y / h.z, h.z > kNear ? 1.0 / h.z : 0.0};
}

// Whether every corner lies beyond the near plane.
inline bool ahead(const Vec3 h[3]) { return h[0].z > kNear && h[1].z > kNear && h[2].z > kNear; }

// Pixels that the part of a face beyond the near plane may cover.
inline Bounds bounds_of(const Vec3 h[3], const Pixel p[3], int64_t height, int64_t width) {
  double left = 1e300, right = -1e300, top = 1e300, bottom = -1e300;
  const auto grow = [&](double x, double y) {
    left = std::min(left, x);
    right = std::max(right, x);
    top = std::min(top, y);
    bottom = std::max(bottom, y);
  };
  for (int i = 0; i < 3; ++i) {
    if (h[i].z > kNear) grow(p[i].x, p[i].y);
    const Vec3 &a = h[i], &b = h[(i + 1) % 3];
    if ((a.z > kNear) == (b.z > kNear)) continue;
    const double t = (kNear - a.z) / (b.z - a.z);
    grow((a.x + t * (b.x - a.x)) / kNear, (a.y + t * (b.y - a.y)) / kNear);
  }
  Bounds bounds;
  span(left, right, width, bounds.left, bounds.right);
  span(top, bottom, height, bounds.top, bounds.bottom);
  return bounds;
}

// Edge functions of one face; false when it is degenerate or culled. `bounds` are set apart.
inline bool set_up(const Vec3 h[3], bool cull, Face& face) {
  const Vec3 n[3] = {cross(h[1], h[2]), cross(h[2], h[0]), cross(h[0], h[1])};
  const double det = dot(h[0], n[0]);
  if (!(std::abs(det) > 0.0) || !std::isfinite(det)) return false;
  if (cull && det > 0) return false;  // outward faces seen from outside have det < 0
  const double sign = det < 0 ? -1.0 : 1.0;
  face.det = std::abs(det);
  for (int i = 0; i < 3; ++i) {
    face.edge[i] = n[i] * sign;
    const Vec3& e = face.edge[i];
    const bool top_left = e.x > 0 || (e.x == 0 && e.y > 0);
    face.limit[i] = top_left ? -std::numeric_limits<double>::min() : 0.0;
  }
  face.inverse = (face.edge[0] + face.edge[1] + face.edge[2]) * (1.0 / face.det);
  face.farthest = ahead(h) ? 1e300 : 1.0 / kNear;
  return true;
}

// Pixels of an image that one task of a backward pass walks through. Fixed, whatever the threads:
// sums are taken per chunk, and chunks are added up in order.
constexpr int64_t kChunkPixels = 8192;

inline int64_t chunks_of(int64_t pixels) { return (pixels + kChunkPixels - 1) / kChunkPixels; }

// The faces that a chunk shows, numbered in the order in which they are met.
class Met {
 public:
  // For a mesh of `count` faces.
  void open(int64_t count) {
    if (int64_t(number_.size()) < count) number_.resize(count, -1);
    faces.clear();
  }
  // Number of face f, counted from the mesh's first; `fresh` tells that it was not met before.
  int64_t of(int64_t f, bool& fresh) {
    int32_t& n = number_[f];
    fresh = n < 0;
    if (fresh) {
      n = int32_t(faces.size());
      faces.push_back(f);
    }
    return n;
  }
  void close() {
    for (int64_t f : faces) number_[f] = -1;
  }
  std::vector<int64_t> faces;

 private:
  std::vector<int32_t> number_;  // -1 for all between a close and the next open
};

// Calls visit(first, last, f) for every run of entries [first, last) that show the same face f, -1 for none.
template <class Visit>
inline void visit_runs(const int64_t* map, int64_t stride, int64_t first, int64_t last,
                       Visit&& visit) {
  for (int64_t i = first, end; i < last; i = end) {
    const int64_t f = map[i * stride];
    for (end = i + 1; end < last && map[end * stride] == f;) ++end;
    visit(i, end, f);
  }
}

}  // namespace diffrender
