// Analytic antialiasing of silhouettes; twin: diffrender/raster/torch_antialias.py.
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
// The forward pass lists its crossings with the differences in - out that they blended, which is
// all that the backward pass needs: d alpha = +-dx(y), with x(y) linear interpolation between the
// projected ends. Crossings come in edge order, so the bits do not depend on threads.

#include <memory>

#include "common.h"

namespace diffrender {
namespace {

constexpr double kBlock = 1e-4;        // relative, in 1 / z
constexpr int64_t kEdgesEach = 8192;   // edges that one task looks at

struct Point {
  double x, y, inverse;  // inverse = 1 / z, or 0 at or behind the near plane
};

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

template <class T>
struct Crossed {
  std::vector<Crossings<T>> images;
  int64_t channels;
};

// Twice the area of the triangle p q c in the image: which side of p q the vertex c lies on.
inline double turn(const Point& p, const Point& q, const Point& c) {
  return (q.x - p.x) * (c.y - p.y) - (q.y - p.y) * (c.x - p.x);
}

template <class T>
struct Image {
  const T* h;
  int64_t vertex0, vertex1, height, width, face_stride;
  const int64_t* face;
  const T* depth;
  const Point* points;

  // Crossings of the edges [first, last): found[0] along rows, found[1] along columns.
  bool collect(const Topology& topology, int64_t first, int64_t last,
               std::vector<Blend> found[2]) const {
    const int64_t count = vertex1 - vertex0;
    for (int64_t e = first; e < last; ++e) {
      const int64_t a = topology.edges[2 * e], b = topology.edges[2 * e + 1];
      if (a < 0 || b < 0 || a >= count || b >= count) return false;
      const Point &p = points[a], &q = points[b];
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
                   const Point& p, const Point& q, double inside, bool upright, bool blocks,
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
      const int64_t face_in = face[in * face_stride], face_out = face[out * face_stride];
      if (face_in < 0 || face_in == face_out) continue;
      double inverse = p.inverse + along * (q.inverse - p.inverse);
      if (face_out >= 0 && !(inverse * double(depth[out * face_stride]) > 1.0)) continue;
      if (blocks) inverse *= 1.0 - kBlock;
      const double sign = inside > 0 ? -1.0 : 1.0;
      const double alpha = sign * (v - (double(near_pixel) + 0.5)) - 0.5;
      found.push_back({int32_t(in), int32_t(out), int32_t(a), int32_t(b), along, slope, sign,
                       alpha, inverse, blocks});
    }
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

struct Shapes {
  const int64_t *vertex_offsets, *topology, *edge_offsets;
  const int32_t *edges, *opposite_offsets, *opposite;
  int64_t meshes, height, width, channels, face_stride;
};

// Finds and applies the crossings of image b; `threads` may share its edges.
template <class T>
int64_t one_image(const Shapes& s, int64_t b, const T* h, const int64_t* face, const T* depth,
                  int64_t threads, Crossings<T>& crossings, T* out) {
  const int64_t pixels = s.height * s.width, t = s.topology[b];
  thread_local std::vector<Point> points;  // kept between calls, as are the lists below
  points.resize(s.vertex_offsets[b + 1] - s.vertex_offsets[b]);
  for (size_t v = 0; v < points.size(); ++v) {
    const Vec3 p = load(h, s.vertex_offsets[b] + v);
    points[v] = p.z > kNear ? Point{p.x / p.z, p.y / p.z, 1.0 / p.z} : Point{0, 0, 0};
  }
  const Image<T> image{h, s.vertex_offsets[b], s.vertex_offsets[b + 1], s.height, s.width,
                       s.face_stride, face + b * pixels * s.face_stride,
                       depth + b * pixels * s.face_stride, points.data()};
  const Topology topology{s.edges, s.opposite_offsets, s.opposite, s.edge_offsets[t],
                          s.edge_offsets[t + 1]};
  thread_local std::vector<Blend> found[2];
  for (auto& list : found) list.clear();
  const int64_t edges = topology.last - topology.first;
  const int64_t chunks = (edges + kEdgesEach - 1) / kEdgesEach;
  if (threads <= 1 || chunks <= 1) {
    if (!image.collect(topology, topology.first, topology.last, found)) return kBadIndex;
  } else {
    std::vector<std::vector<Blend>> part(2 * chunks);
    std::vector<char> good(chunks, 1);
    parallel(threads, chunks, [&](int64_t k) {
      const int64_t first = topology.first + k * kEdgesEach;
      good[k] = image.collect(topology, first, std::min(topology.last, first + kEdgesEach),
                              part.data() + 2 * k);
    });
    for (int64_t k = 0; k < chunks; ++k) {
      if (!good[k]) return kBadIndex;
      for (int i = 0; i < 2; ++i)
        found[i].insert(found[i].end(), part[2 * k + i].begin(), part[2 * k + i].end());
    }
  }
  for (int i = 0; i < 2; ++i) {
    image.choose(found[i], crossings.list[i]);
    blend(crossings.list[i], s.channels, crossings.difference[i], out + b * pixels * s.channels);
  }
  return kDone;
}

// The crossings stay in `*kept` until they are taken.
template <class T>
int64_t antialias(const Shapes& s, const T* h, const int64_t* face, const T* depth,
                  const T* source, int64_t threads, T* out, int64_t* total, Crossed<T>** kept) {
  auto crossed = std::make_unique<Crossed<T>>();
  crossed->images.resize(s.meshes);
  crossed->channels = s.channels;
  std::vector<int64_t> status(s.meshes, kDone);
  const auto one = [&](int64_t b, int64_t inner) {
    const int64_t size = s.height * s.width * s.channels;
    copy(inner, out + b * size, source + b * size, size * int64_t(sizeof(T)));
    status[b] = one_image(s, b, h, face, depth, inner, crossed->images[b], out);
  };
  if (s.meshes >= threads || threads <= 1)
    parallel(threads, s.meshes, [&](int64_t b) { one(b, 1); });
  else
    for (int64_t b = 0; b < s.meshes; ++b) one(b, threads);
  for (int64_t code : status)
    if (code != kDone) return code;
  *total = 0;
  for (const auto& image : crossed->images)
    *total += int64_t(image.list[0].size() + image.list[1].size());
  *kept = crossed.release();
  return kDone;
}

// Copies the crossings out: index (n, 4) is in, out, a, b; weight (n, 4) is along, slope, sign,
// alpha; counts (B, 2) is how many of each image are along rows and along columns.
template <class T>
int64_t take(Crossed<T>* crossed, int32_t* index, double* weight, T* difference, int64_t* counts) {
  const std::unique_ptr<Crossed<T>> owner(crossed);
  if (!index) return kDone;
  for (const auto& image : crossed->images)
    for (int i = 0; i < 2; ++i) {
      *counts++ = int64_t(image.list[i].size());
      for (const Blend& k : image.list[i]) {
        const int32_t numbers[4] = {k.in, k.out, k.a, k.b};
        const double weights[4] = {k.along, k.slope, k.sign, k.alpha};
        std::memcpy(index, numbers, sizeof numbers);
        std::memcpy(weight, weights, sizeof weights);
        index += 4;
        weight += 4;
      }
      std::copy(image.difference[i].begin(), image.difference[i].end(), difference);
      difference += image.difference[i].size();
    }
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_ANTIALIAS(NAME, T)                                                            \
  DIFFRENDER_API int64_t diffrender_antialias_##NAME(                                            \
      const int64_t* vertex_offsets, const int64_t* topology, const int64_t* edge_offsets,       \
      const int32_t* edges, const int32_t* opposite_offsets, const int32_t* opposite,            \
      int64_t meshes, int64_t height, int64_t width, int64_t channels, int64_t face_stride,      \
      const T* h, const int64_t* face, const T* depth, const T* image, int64_t threads, T* out,  \
      int64_t* total, void** kept) {                                                             \
    return diffrender::guarded([&] {                                                             \
      const diffrender::Shapes shapes{vertex_offsets, topology, edge_offsets, edges,             \
                                      opposite_offsets, opposite, meshes, height, width,         \
                                      channels, face_stride};                                    \
      return diffrender::antialias(shapes, h, face, depth, image, threads, out, total,           \
                                   reinterpret_cast<diffrender::Crossed<T>**>(kept));            \
    });                                                                                          \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_antialias_take_##NAME(void* kept, int32_t* index,            \
                                                          double* weight, T* difference,         \
                                                          int64_t* counts) {                     \
    return diffrender::guarded([&] {                                                             \
      return diffrender::take(static_cast<diffrender::Crossed<T>*>(kept), index, weight,         \
                              difference, counts);                                               \
    });                                                                                          \
  }

DIFFRENDER_ANTIALIAS(f32, float)
DIFFRENDER_ANTIALIAS(f64, double)
