// Crossings of silhouette edges between neighbouring pixels, and how they blend an image.
//
// After Laine et al. 2020 (Modular primitives, sec. 3.5), driven by edges instead of pixel pairs so
// that the slim faces of a limb do not hide its outline. An edge is a silhouette when all faces at
// it lie on one side in the image. A steep edge (|dy| >= |dx| in pixels) crosses rows: in the row
// with centre y it passes x(y) between two neighbouring pixel centres; the pixel on the faces' side
// is `in`, the other `out`. With t the distance from the centre of `in` to the crossing and
// alpha = t - 1/2, the surface reaches past the border (alpha > 0: out += alpha (in - out)) or
// falls short of it (alpha < 0: in += alpha (in - out)). Flat edges do the same along columns, on
// the result of the rows, so that weights stay convex. Where several edges pass between the same
// two centres the nearest one decides, whether steep or flat (one of the wrong kind blends
// nothing, and has to be nearer by kBlock).
//
// A forward pass lists its crossings with the differences in - out that they blended, which is all
// that a backward pass needs: d alpha = +-dx(y), with x(y) linear interpolation between the
// projected ends. Crossings come in edge order, so the bits do not depend on threads.
//
// Twin: diffrender/raster/torch_antialias.py.
#pragma once

#include "raster.h"

namespace diffrender {

constexpr double kBlock = 1e-4;        // relative, in 1 / z
constexpr int64_t kEdgesEach = 1024;   // edges that one task looks at

// One crossing: `along` is the share of the way from vertex a to vertex b, `slope` dv/du.
struct Blend {
  int32_t in, out, a, b;
  double along, slope, sign, alpha, inverse;
  bool blocks;
};

struct Topology {
  const int32_t *edges, *opposite_offsets, *opposite;
  int64_t first, last;
};

// Blends of one image, along rows and then along columns, and what was blended, (n, C) each.
template <class T>
struct Crossings {
  std::vector<Blend> list[2];
  std::vector<T> difference[2];
};

// Twice the area of the triangle p q c in the image: which side of p q the vertex c lies on.
inline double turn(const Pixel& p, const Pixel& q, const Pixel& c) {
  return (q.x - p.x) * (c.y - p.y) - (q.y - p.y) * (c.x - p.x);
}

// One image whose outlines are looked for. `Maps` answers what a pixel shows: `face(pixel)`, -1 for
// none, and `nearer(inverse, pixel)`, whether 1 / z = `inverse` lies in front of the face shown.
template <class T, class Maps>
struct Outlines {
  const T* h;
  int64_t vertex0, vertex1, height, width;
  const Maps& maps;
  const Pixel* points;

  // Crossings of the edges [first, last): found[0] along rows, found[1] along columns.
  bool collect(const Topology& topology, int64_t first, int64_t last,
               std::vector<Blend> found[2]) const {
    const int64_t count = vertex1 - vertex0;
    for (int64_t e = first; e < last; ++e) {
      const int64_t a = topology.edges[2 * e], b = topology.edges[2 * e + 1];
      if (a < 0 || b < 0 || a >= count || b >= count) return false;
      const Pixel &p = points[a], &q = points[b];
      if (p.inverse == 0 || q.inverse == 0) continue;
      int positive = 0, negative = 0;
      for (int64_t i = topology.opposite_offsets[e]; i < topology.opposite_offsets[e + 1]; ++i) {
        const int64_t c = topology.opposite[i];
        if (c < 0 || c >= count) return false;
        // A third vertex behind the near plane has no place in the image: ask its edge function.
        const double side = points[c].inverse > 0
                                ? turn(p, q, points[c])
                                : dot(cross(load(h, vertex0 + a), load(h, vertex0 + b)),
                                      load(h, vertex0 + c));
        positive += side > 0;
        negative += side < 0;
      }
      if ((positive > 0) == (negative > 0)) continue;
      const double side = positive ? 1.0 : -1.0;
      const bool steep = std::abs(q.y - p.y) >= std::abs(q.x - p.x);
      cross_lines(a, b, p.y, q.y, p.x, q.x, p, q, side * (p.y - q.y), false, !steep, found[0]);
      cross_lines(a, b, p.x, q.x, p.y, q.y, p, q, side * (q.x - p.x), true, steep, found[1]);
    }
    return true;
  }

  // Crossings of one edge with the centre lines u = k + 1/2 (rows, or columns if `upright`); v is
  // the coordinate along a line, and the faces lie towards greater v when `inside` > 0.
  void cross_lines(int64_t a, int64_t b, double u0, double u1, double v0, double v1,
                   const Pixel& p, const Pixel& q, double inside, bool upright, bool blocks,
                   std::vector<Blend>& found) const {
    if (u0 == u1 || inside == 0) return;
    const int64_t lines = upright ? width : height, length = upright ? height : width;
    const double low = std::min(u0, u1), high = std::max(u0, u1);
    const double first = std::max(std::ceil(low - 0.5), 0.0);
    const double last = std::min(std::ceil(high - 0.5) - 1.0, double(lines - 1));
    if (first > last) return;
    const double slope = (v1 - v0) / (u1 - u0);
    for (double line = first; line <= last; line += 1.0) {
      const double along = (line + 0.5 - u0) / (u1 - u0);
      const double v = v0 + along * (v1 - v0);
      const double lower = std::floor(v - 0.5);
      if (!(lower >= 0.0) || !(lower + 1.0 < double(length))) continue;
      const int64_t near_pixel = int64_t(lower) + (inside > 0);
      const int64_t far_pixel = int64_t(lower) + (inside <= 0);
      const int64_t k = int64_t(line);
      const int64_t in = upright ? near_pixel * width + k : k * width + near_pixel;
      const int64_t out = upright ? far_pixel * width + k : k * width + far_pixel;
      const int64_t face_in = maps.face(in), face_out = maps.face(out);
      if (face_in < 0 || face_in == face_out) continue;
      double inverse = p.inverse + along * (q.inverse - p.inverse);
      if (face_out >= 0 && !maps.nearer(inverse, out)) continue;
      if (blocks) inverse *= 1.0 - kBlock;
      const double sign = inside > 0 ? -1.0 : 1.0;
      const double alpha = sign * (v - (double(near_pixel) + 0.5)) - 0.5;
      found.push_back({int32_t(in), int32_t(out), int32_t(a), int32_t(b), along, slope, sign,
                       alpha, inverse, blocks});
    }
  }

  // All crossings of the image in edge order, `threads` sharing the edges; false for a bad index.
  bool find(const Topology& topology, int64_t threads, std::vector<Blend> found[2]) const {
    for (int i = 0; i < 2; ++i) found[i].clear();
    const int64_t edges = topology.last - topology.first;
    const int64_t chunks = (edges + kEdgesEach - 1) / kEdgesEach;
    if (threads <= 1 || chunks <= 1)
      return collect(topology, topology.first, topology.last, found);
    std::vector<std::vector<Blend>> part(2 * chunks);
    std::vector<char> good(chunks, 1);
    parallel(threads, chunks, [&](int64_t k) {
      const int64_t first = topology.first + k * kEdgesEach;
      good[k] = collect(topology, first, std::min(topology.last, first + kEdgesEach),
                        part.data() + 2 * k);
    });
    for (int64_t k = 0; k < chunks; ++k) {
      if (!good[k]) return false;
      for (int i = 0; i < 2; ++i)
        found[i].insert(found[i].end(), part[2 * k + i].begin(), part[2 * k + i].end());
    }
    return true;
  }

  // The nearest crossing of every pixel pair, in edge order.
  void choose(const std::vector<Blend>& found, std::vector<Blend>& chosen) const {
    thread_local std::vector<int32_t> winner;  // zero between calls
    if (int64_t(winner.size()) < height * width) winner.assign(height * width, 0);
    for (size_t i = 0; i < found.size(); ++i) {
      int32_t& w = winner[std::min(found[i].in, found[i].out)];
      if (w == 0 || found[i].inverse > found[w - 1].inverse) w = int32_t(i + 1);
    }
    for (size_t i = 0; i < found.size(); ++i)
      if (winner[std::min(found[i].in, found[i].out)] == int32_t(i + 1) && !found[i].blocks)
        chosen.push_back(found[i]);
    for (const Blend& f : found) winner[std::min(f.in, f.out)] = 0;
  }
};

// Blends `target` in place: all differences are taken before anything changes.
template <class T>
void blend(const std::vector<Blend>& list, int64_t channels, std::vector<T>& difference,
           T* target) {
  difference.resize(list.size() * channels);
  T* d = difference.data();
  for (const Blend& k : list)
    for (int64_t c = 0; c < channels; ++c)
      *d++ = target[k.in * channels + c] - target[k.out * channels + c];
  d = difference.data();
  for (const Blend& k : list) {
    T* t = target + (k.alpha > 0 ? k.out : k.in) * channels;
    for (int64_t c = 0; c < channels; ++c) t[c] += T(k.alpha * double(*d++));
  }
}

struct Tables {
  const int64_t *topology, *edge_offsets;
  const int32_t *edges, *opposite_offsets, *opposite;

  Topology of(int64_t b) const {
    const int64_t t = topology[b];
    return {edges, opposite_offsets, opposite, edge_offsets[t], edge_offsets[t + 1]};
  }
};

// Finds the crossings of one image and blends `target` (H, W, C) with them, in place.
template <class T, class Maps>
int64_t antialias_image(const Outlines<T, Maps>& outlines, const Topology& topology,
                        int64_t channels, int64_t threads, Crossings<T>& crossings, T* target) {
  thread_local std::vector<Blend> found[2];  // kept between calls
  if (!outlines.find(topology, threads, found)) return kBadIndex;
  for (int i = 0; i < 2; ++i) {
    crossings.list[i].clear();
    crossings.list[i].reserve(found[i].size());
    outlines.choose(found[i], crossings.list[i]);
    blend(crossings.list[i], channels, crossings.difference[i], target);
  }
  return kDone;
}

}  // namespace diffrender
