// Hard visibility of points as discs; twin: diffrender/raster/torch_points.py.
//
// A point with homogeneous pixels h = z (x, y, 1) is seen at a pixel whose centre p lies no farther
// than its radius from (x, y), in pixels: q = (p_x - x)^2 + (p_y - y)^2 <= radius^2, and z beyond the
// near plane. Each pixel keeps the K nearest in z; points come in order, so a tie keeps the lower.
//
// Backward: dz/dh_z = 1; dq/dx = -2 (p_x - x), likewise for y, with x = h_x / h_z. A point adds up its
// pixels in scan order, so the bits do not depend on threads.

#include <limits>

#include "common.h"

namespace diffrender {
namespace {

struct Cloud {
  const int64_t* offsets;  // of the points of each image
  int64_t images, height, width, layers;
};

template <class T>
int64_t point_rows(const Cloud& s, const T* h, const T* radius, int64_t b, int64_t row0,
                   int64_t row1, int64_t* point, T* depth, T* square, int64_t& culprit) {
  struct Entry {
    double z = std::numeric_limits<double>::infinity();
    int64_t index = -1;
    double square = 0;
  };
  const int64_t count = (row1 - row0) * s.width;
  std::vector<Entry> lists(count * s.layers);
  for (int64_t v = s.offsets[b]; v < s.offsets[b + 1]; ++v) {
    const Vec3 p = load(h, v);
    if (!std::isfinite(p.x + p.y + p.z)) {
      culprit = v;
      return kNotFinite;
    }
    if (!(p.z > kNear)) continue;
    const double x = p.x / p.z, y = p.y / p.z, r = radius[v], limit = r * r;
    const auto low = [&](double value, int64_t n) {
      return int64_t(std::ceil(std::min(std::max(value - r - 0.501, 0.0), double(n))));
    };
    const auto high = [&](double value, int64_t n) {
      return int64_t(std::floor(std::min(std::max(value + r - 0.499, -1.0), double(n - 1))));
    };
    const int64_t left = low(x, s.width), right = high(x, s.width);
    const int64_t top = std::max(low(y, s.height), row0);
    const int64_t bottom = std::min(high(y, s.height), row1 - 1);
    for (int64_t row = top; row <= bottom; ++row) {
      const double dy = row + 0.5 - y;
      for (int64_t column = left; column <= right; ++column) {
        const double dx = column + 0.5 - x, q = dx * dx + dy * dy;
        if (!(q <= limit)) continue;
        Entry* list = lists.data() + ((row - row0) * s.width + column) * s.layers;
        int64_t k = s.layers - 1;
        if (!(p.z < list[k].z)) continue;
        for (; k > 0 && p.z < list[k - 1].z; --k) list[k] = list[k - 1];
        list[k].z = p.z;
        list[k].index = v;
        list[k].square = q;
      }
    }
  }
  const int64_t start = (b * s.height + row0) * s.width * s.layers;
  for (int64_t i = 0; i < count * s.layers; ++i) {
    const Entry& entry = lists[i];
    point[start + i] = entry.index;
    depth[start + i] = entry.index < 0 ? T(0) : T(entry.z);
    square[start + i] = T(entry.square);
  }
  return kDone;
}

template <class T>
int64_t rasterize_points(const Cloud& s, const T* h, const T* radius, int64_t threads,
                         int64_t* point, T* depth, T* square, int64_t* culprit) {
  const int64_t bands = pieces(2 * threads * (threads > 1), s.images, (s.height + 7) / 8);
  std::vector<int64_t> status(s.images * bands, kDone), where(s.images * bands, 0);
  parallel(threads, s.images * bands, [&](int64_t task) {
    const int64_t b = task / bands, part = task % bands;
    status[task] = point_rows(s, h, radius, b, s.height * part / bands,
                              s.height * (part + 1) / bands, point, depth, square, where[task]);
  });
  for (size_t i = 0; i < status.size(); ++i) {
    if (status[i] == kDone) continue;
    *culprit = where[i];
    return status[i];
  }
  return kDone;
}

template <class T>
int64_t rasterize_points_backward(const Cloud& s, const T* h, const int64_t* point,
                                  const T* grad_depth, const T* grad_square, int64_t threads,
                                  T* grad_h) {
  const int64_t parts = pieces(threads, s.images, 64);
  std::vector<double> sums(3 * s.offsets[s.images], 0.0);  // by x, y and z
  parallel(threads, s.images * parts, [&](int64_t task) {
    const int64_t b = task / parts, part = task % parts;
    const int64_t first = s.offsets[b], size = s.offsets[b + 1] - first;
    const int64_t low = first + size * part / parts, high = first + size * (part + 1) / parts;
    const int64_t pixels = s.height * s.width;
    for (int64_t i = b * pixels; i < (b + 1) * pixels; ++i) {
      const double px = double(i % s.width) + 0.5, py = double(i / s.width % s.height) + 0.5;
      for (int64_t k = i * s.layers; k < (i + 1) * s.layers; ++k) {
        const int64_t v = point[k];
        if (v < low || v >= high) continue;
        const Vec3 p = load(h, v);
        const double pull = -2.0 * double(grad_square[k]);
        sums[3 * v] += pull * (px - p.x / p.z);
        sums[3 * v + 1] += pull * (py - p.y / p.z);
        sums[3 * v + 2] += double(grad_depth[k]);
      }
    }
    for (int64_t v = low; v < high; ++v) {
      const double *g = sums.data() + 3 * v;
      if (g[0] == 0 && g[1] == 0 && g[2] == 0) continue;
      const Vec3 p = load(h, v);
      const double inverse = 1.0 / p.z;
      add(grad_h, v,
          {g[0] * inverse, g[1] * inverse, g[2] - (g[0] * p.x + g[1] * p.y) * inverse * inverse});
    }
  });
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_CLOUD \
  const int64_t *offsets, int64_t images, int64_t height, int64_t width, int64_t layers
#define DIFFRENDER_POINTS(NAME, T)                                                              \
  DIFFRENDER_API int64_t diffrender_rasterize_points_##NAME(                                    \
      DIFFRENDER_CLOUD, const T* h, const T* radius, int64_t threads, int64_t* point, T* depth, \
      T* square, int64_t* culprit) {                                                            \
    return diffrender::guarded([&] {                                                            \
      return diffrender::rasterize_points<T>({offsets, images, height, width, layers}, h,       \
                                             radius, threads, point, depth, square, culprit);   \
    });                                                                                         \
  }                                                                                             \
  DIFFRENDER_API int64_t diffrender_rasterize_points_backward_##NAME(                           \
      DIFFRENDER_CLOUD, const T* h, const int64_t* point, const T* grad_depth,                  \
      const T* grad_square, int64_t threads, T* grad_h) {                                       \
    return diffrender::guarded([&] {                                                            \
      return diffrender::rasterize_points_backward<T>({offsets, images, height, width, layers}, \
                                                      h, point, grad_depth, grad_square,        \
                                                      threads, grad_h);                         \
    });                                                                                         \
  }

DIFFRENDER_POINTS(f32, float)
DIFFRENDER_POINTS(f64, double)
