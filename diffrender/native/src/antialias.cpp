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
// Backward: d alpha = +-dx(y), with x(y) linear interpolation between the projected ends.

#include "common.h"

namespace diffrender {
namespace {

constexpr double kBlock = 1e-4;  // relative, in 1 / z

struct Point {
  double x, y, inverse;  // inverse = 1 / z, or 0 at or behind the near plane
};

// One crossing: `along` is the share of the way from vertex a to vertex b.
struct Blend {
  int64_t in, out, edge, a, b;
  double along, slope, sign, alpha, inverse;
  bool blocks;
};

struct Topology {
  const int32_t *edges, *opposite_offsets, *opposite;
  int64_t first, last;
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
  std::vector<Blend> rows, columns;

  bool collect(const Topology& topology) {
    std::vector<Point> points(vertex1 - vertex0);
    for (int64_t v = vertex0; v < vertex1; ++v) {
      const Vec3 p = load(h, v);
      if (p.z > kNear) {
        points[v - vertex0] = {p.x / p.z, p.y / p.z, 1.0 / p.z};
      } else {
        points[v - vertex0] = {0, 0, 0};
      }
    }
    thread_local std::vector<Blend> found[2];  // kept between calls
    for (auto& list : found) list.clear();
    const int64_t count = vertex1 - vertex0;
    for (int64_t e = topology.first; e < topology.last; ++e) {
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
      cross_lines(e, a, b, p.y, q.y, p.x, q.x, p, q, side * (p.y - q.y), false, !steep, found[0]);
      cross_lines(e, a, b, p.x, q.x, p.y, q.y, p, q, side * (q.x - p.x), true, steep, found[1]);
    }
    choose(found[0], rows);
    choose(found[1], columns);
    return true;
  }

  // Crossings of one edge with the centre lines u = k + 1/2 (rows, or columns if `upright`); v is
  // the coordinate along a line, and the faces lie towards greater v when `inside` > 0.
  void cross_lines(int64_t edge, int64_t a, int64_t b, double u0, double u1, double v0, double v1,
                   const Point& p, const Point& q, double inside, bool upright, bool blocks,
                   std::vector<Blend>& found) const {
    if (u0 == u1 || inside == 0) return;
    const int64_t lines = upright ? width : height, length = upright ? height : width;
    const double low = std::min(u0, u1), high = std::max(u0, u1);
    const double first = std::max(std::ceil(low - 0.5), 0.0);
    const double last = std::min(std::ceil(high - 0.5) - 1.0, double(lines - 1));
    const double slope = (v1 - v0) / (u1 - u0);
    for (double line = first; line <= last; line += 1.0) {
      const double along = (line + 0.5 - u0) / (u1 - u0);
      const double v = v0 + along * (v1 - v0);
      const double lower = std::floor(v - 0.5);
      if (!(lower >= 0.0) || !(lower + 1.0 < double(length))) continue;
      const int64_t near_pixel = int64_t(lower) + (inside > 0), far_pixel = int64_t(lower) + (inside <= 0);
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
      found.push_back({in, out, edge, a, b, along, slope, sign, alpha, inverse, blocks});
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

template <class T>
void blend(const std::vector<Blend>& list, int64_t channels, const T* source, T* target) {
  for (const Blend& k : list) {
    T* t = target + (k.alpha > 0 ? k.out : k.in) * channels;
    for (int64_t c = 0; c < channels; ++c)
      t[c] += T(k.alpha * (double(source[k.in * channels + c]) - source[k.out * channels + c]));
  }
}

// Gradient of `blend`: `grad` is dL/dtarget, `result` starts as a copy of it and becomes
// dL/dsource; `ends` gathers dL/dx and dL/dy of the projected vertices.
template <class T>
void blend_backward(const std::vector<Blend>& list, int64_t channels, const T* source,
                    const T* grad, T* result, bool upright, double* ends) {
  for (const Blend& k : list) {
    const T* g = grad + (k.alpha > 0 ? k.out : k.in) * channels;
    double slide = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t in = k.in * channels + c, out = k.out * channels + c;
      slide += double(g[c]) * (double(source[in]) - source[out]);
      result[in] += T(k.alpha * g[c]);
      result[out] -= T(k.alpha * g[c]);
    }
    slide *= k.sign;  // now dL/dv of the crossing
    const int v = upright ? 1 : 0, u = 1 - v;
    ends[2 * k.a + v] += (1.0 - k.along) * slide;
    ends[2 * k.b + v] += k.along * slide;
    ends[2 * k.a + u] -= (1.0 - k.along) * k.slope * slide;
    ends[2 * k.b + u] -= k.along * k.slope * slide;
  }
}

struct Shapes {
  const int64_t *vertex_offsets, *topology, *edge_offsets;
  const int32_t *edges, *opposite_offsets, *opposite;
  int64_t meshes, height, width, channels, face_stride;
};

template <class T>
bool prepare(const Shapes& s, int64_t b, const T* h, const int64_t* face, const T* depth,
             Image<T>& image) {
  const int64_t pixels = s.height * s.width, t = s.topology[b];
  image.h = h;
  image.vertex0 = s.vertex_offsets[b];
  image.vertex1 = s.vertex_offsets[b + 1];
  image.height = s.height;
  image.width = s.width;
  image.face_stride = s.face_stride;
  image.face = face + b * pixels * s.face_stride;
  image.depth = depth + b * pixels * s.face_stride;
  return image.collect(
      {s.edges, s.opposite_offsets, s.opposite, s.edge_offsets[t], s.edge_offsets[t + 1]});
}

template <class T>
int64_t antialias(const Shapes& s, const T* h, const int64_t* face, const T* depth, const T* image,
                  int64_t threads, T* rows, T* out) {
  const int64_t size = s.height * s.width * s.channels;
  std::vector<int64_t> status(s.meshes, kDone);
  parallel(threads, s.meshes, [&](int64_t b) {
    Image<T> work;
    if (!prepare(s, b, h, face, depth, work)) {
      status[b] = kBadIndex;
      return;
    }
    const T* source = image + b * size;
    T *middle = rows + b * size, *target = out + b * size;
    std::memcpy(middle, source, size * sizeof(T));
    blend(work.rows, s.channels, source, middle);
    std::memcpy(target, middle, size * sizeof(T));
    blend(work.columns, s.channels, middle, target);
  });
  for (int64_t code : status)
    if (code != kDone) return code;
  return kDone;
}

template <class T>
int64_t antialias_backward(const Shapes& s, const T* h, const int64_t* face, const T* depth,
                           const T* image, const T* rows, const T* grad, int64_t threads,
                           T* grad_image, T* grad_h) {
  const int64_t size = s.height * s.width * s.channels;
  parallel(threads, s.meshes, [&](int64_t b) {
    Image<T> work;
    if (!prepare(s, b, h, face, depth, work)) return;
    std::vector<double> ends(2 * (work.vertex1 - work.vertex0), 0.0);
    thread_local std::vector<T> middle;  // kept between calls
    middle.assign(grad + b * size, grad + (b + 1) * size);
    blend_backward(work.columns, s.channels, rows + b * size, grad + b * size, middle.data(), true,
                   ends.data());
    T* result = grad_image + b * size;
    std::memcpy(result, middle.data(), size * sizeof(T));
    blend_backward(work.rows, s.channels, image + b * size, middle.data(), result, false,
                   ends.data());
    for (int64_t v = work.vertex0; v < work.vertex1; ++v) {
      const double gx = ends[2 * (v - work.vertex0)], gy = ends[2 * (v - work.vertex0) + 1];
      if (gx == 0 && gy == 0) continue;
      const Vec3 p = load(h, v);
      const double inverse = 1.0 / p.z;
      add(grad_h, v,
          {gx * inverse, gy * inverse, -(gx * p.x + gy * p.y) * inverse * inverse});
    }
  });
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_SHAPES                                                                     \
  const int64_t *vertex_offsets, const int64_t *topology, const int64_t *edge_offsets,        \
      const int32_t *edges, const int32_t *opposite_offsets, const int32_t *opposite,         \
      int64_t meshes, int64_t height, int64_t width, int64_t channels, int64_t face_stride
#define DIFFRENDER_SHAPE_NAMES                                                                 \
  {vertex_offsets, topology, edge_offsets, edges,   opposite_offsets, opposite,                \
   meshes,         height,   width,        channels, face_stride}
#define DIFFRENDER_ANTIALIAS(NAME, T)                                                           \
  DIFFRENDER_API int64_t diffrender_antialias_##NAME(                                           \
      DIFFRENDER_SHAPES, const T* h, const int64_t* face, const T* depth, const T* image,       \
      int64_t threads, T* rows, T* out) {                                                       \
    return diffrender::guarded([&] {                                                            \
      return diffrender::antialias<T>(DIFFRENDER_SHAPE_NAMES, h, face, depth, image, threads,   \
                                      rows, out);                                               \
    });                                                                                         \
  }                                                                                             \
  DIFFRENDER_API int64_t diffrender_antialias_backward_##NAME(                                  \
      DIFFRENDER_SHAPES, const T* h, const int64_t* face, const T* depth, const T* image,       \
      const T* rows, const T* grad, int64_t threads, T* grad_image, T* grad_h) {                \
    return diffrender::guarded([&] {                                                            \
      return diffrender::antialias_backward<T>(DIFFRENDER_SHAPE_NAMES, h, face, depth, image,   \
                                               rows, grad, threads, grad_image, grad_h);        \
    });                                                                                         \
  }

DIFFRENDER_ANTIALIAS(f32, float)
DIFFRENDER_ANTIALIAS(f64, double)
