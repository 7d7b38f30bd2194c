// Soft silhouettes (SoftRas, Liu et al. 2019); twin: diffrender/raster/torch_soft.py.
//
// A = 1 - prod_f q_f with q_f = 1 - sigmoid(-d_f / sigma) = sigmoid(d_f / sigma), where d_f is the
// squared distance from the pixel's centre to the outline of face f, negative inside, lengths
// in units of half the image's shorter side. Faces farther than the blur radius are left out, and
// with a limit K only the K nearest in depth count (depth at the barycentrics clipped into the
// face, ties to the lower index). Faces with a vertex at or behind the near plane, or without
// area, are left out.
//
// Backward: dA/dd_f = -(1 - A) (1 - q_f) / sigma, and on to the corners as soft_faces.h says. Every
// face adds up its own pixels in scan order, so the bits do not depend on threads.

#include <limits>

#include "soft_faces.h"

namespace diffrender {
namespace {

constexpr int64_t kBandEntries = 65536;  // list entries (24 bytes) in one band of rows

inline double keep(double signed_square, double sigma) {
  return 1.0 / (1.0 + std::exp(-signed_square / sigma));
}

struct Entry {
  double depth;
  int64_t face;
  double q;
};

// One mesh, projected, with the faces that each band of rows may feel, in face order.
struct Prepared {
  std::vector<Corner> corners;
  std::vector<int32_t> start, list;  // of each band; faces from 0

  void deal(const SoftScene& s, int64_t b, int64_t rows, int64_t bands) {
    const int64_t first = s.face_offsets[b], count = s.face_offsets[b + 1] - first;
    std::vector<int32_t> top(count), bottom(count);
    start.assign(bands + 1, 0);
    for (int64_t f = 0; f < count; ++f) {
      SoftFace face;
      const bool felt = s.take(corners, b, first + f, face);
      top[f] = felt ? int32_t(face.top / rows) : 1;
      bottom[f] = felt ? int32_t(face.bottom / rows) : 0;
      for (int32_t k = top[f]; k <= bottom[f]; ++k) ++start[k + 1];
    }
    for (int64_t k = 0; k < bands; ++k) start[k + 1] += start[k];
    list.resize(start[bands]);
    std::vector<int32_t> next(start.begin(), start.end() - 1);
    for (int64_t f = 0; f < count; ++f)
      for (int32_t k = top[f]; k <= bottom[f]; ++k) list[next[k]++] = int32_t(f);
  }
};

// Rows [row0, row1) of image b. `last_depth` and `last_face` keep the K-th entry of each pixel.
template <class T>
void soft_rows(const SoftScene& s, const Prepared& mesh, int64_t band, int64_t b, int64_t row0,
               int64_t row1, T* alpha, double* last_depth, int64_t* last_face) {
  const int64_t count = (row1 - row0) * s.width;
  const Entry none{std::numeric_limits<double>::infinity(), -1, 1.0};
  thread_local std::vector<double> product;  // kept between calls
  thread_local std::vector<Entry> lists;
  product.assign(s.limit ? 0 : count, 1.0);
  lists.assign(s.limit * count, none);
  for (int32_t entry = mesh.start[band]; entry < mesh.start[band + 1]; ++entry) {
    const int64_t f = s.face_offsets[b] + mesh.list[entry];
    SoftFace face;
    if (!s.take(mesh.corners, b, f, face)) continue;
    for (int64_t y = std::max(face.top, row0); y <= std::min(face.bottom, row1 - 1); ++y) {
      for (int64_t x = face.left; x <= face.right; ++x) {
        double d, w[3];
        Nearest point;
        if (!face.distance((x + 0.5) * s.scale, (y + 0.5) * s.scale, s.blur, d, point, w)) continue;
        const double q = keep(d, s.sigma);
        const int64_t i = (y - row0) * s.width + x;
        if (!s.limit) {
          product[i] *= q;
          continue;
        }
        Entry* list = lists.data() + i * s.limit;
        const double depth = face.shares(w).depth;
        int64_t k = s.limit - 1;
        if (!(depth < list[k].depth)) continue;
        for (; k > 0 && depth < list[k - 1].depth; --k) list[k] = list[k - 1];
        list[k] = {depth, f, q};
      }
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    double rest = 1.0;
    const int64_t out = row0 * s.width + i;
    if (!s.limit) {
      rest = product[i];
    } else {
      const Entry* list = lists.data() + i * s.limit;
      for (int64_t k = 0; k < s.limit; ++k) rest *= list[k].q;
      last_depth[out] = list[s.limit - 1].depth;
      last_face[out] = list[s.limit - 1].face;
    }
    alpha[out] = T(1.0 - rest);
  }
}

template <class T>
int64_t soft(const SoftScene& s, const T* h, int64_t threads, T* alpha, double* last_depth,
             int64_t* last_face, int64_t* culprit) {
  // Bands keep the lists of their pixels within a fixed size, whatever the image.
  const int64_t fit = kBandEntries / (s.width * std::max<int64_t>(1, s.limit));
  const int64_t rows = std::max<int64_t>(1, std::min({fit, s.height, (s.height + 7) / 8}));
  const int64_t bands = (s.height + rows - 1) / rows;
  const int64_t together = std::max<int64_t>(1, 2 * threads);  // meshes prepared at a time
  std::vector<Prepared> meshes(std::min(together, s.meshes));
  std::vector<int64_t> status(meshes.size(), kDone), where(meshes.size(), 0);
  for (int64_t first = 0; first < s.meshes; first += together) {
    const int64_t count = std::min(together, s.meshes - first);
    parallel(threads, count, [&](int64_t m) {
      status[m] = s.project(h, first + m, meshes[m].corners, where[m]);
      if (status[m] == kDone) meshes[m].deal(s, first + m, rows, bands);
    });
    for (int64_t m = 0; m < count; ++m) {
      if (status[m] == kDone) continue;
      *culprit = where[m];
      return status[m];
    }
    parallel(threads, count * bands, [&](int64_t task) {
      const int64_t m = task / bands, band = task % bands, b = first + m;
      const int64_t at = b * s.height * s.width;
      soft_rows(s, meshes[m], band, b, band * rows, std::min(s.height, (band + 1) * rows),
                alpha + at, last_depth + (s.limit ? at : 0), last_face + (s.limit ? at : 0));
    });
  }
  return kDone;
}

// dL/dx and dL/dy of the three corners of one face.
template <class T>
void soft_face_backward(const SoftScene& s, const SoftFace& face, int64_t f, const T* alpha,
                        const T* grad, const double* last_depth, const int64_t* last_face,
                        double ends[6]) {
  for (int64_t y = face.top; y <= face.bottom; ++y) {
    for (int64_t x = face.left; x <= face.right; ++x) {
      const int64_t i = y * s.width + x;
      const double left = 1.0 - double(alpha[i]);
      if (grad[i] == T(0) || left == 0.0) continue;
      double d, w[3];
      Nearest point;
      if (!face.distance((x + 0.5) * s.scale, (y + 0.5) * s.scale, s.blur, d, point, w)) continue;
      if (s.limit) {
        const double depth = face.shares(w).depth;
        if (depth > last_depth[i] || (depth == last_depth[i] && f > last_face[i])) continue;
      }
      const double q = keep(d, s.sigma);
      const double g = -double(grad[i]) * left * (1.0 - q) / s.sigma * (d < 0 ? -1.0 : 1.0);
      const double gx = -2.0 * g * point.rx, gy = -2.0 * g * point.ry;
      ends[2 * point.a] += (1.0 - point.t) * gx;
      ends[2 * point.a + 1] += (1.0 - point.t) * gy;
      ends[2 * point.b] += point.t * gx;
      ends[2 * point.b + 1] += point.t * gy;
    }
  }
}

template <class T>
int64_t soft_backward(const SoftScene& s, const T* h, const T* alpha, const T* grad,
                      const double* last_depth, const int64_t* last_face, int64_t threads,
                      T* grad_h) {
  const int64_t parts = pieces(2 * threads * (threads > 1), s.meshes, 256);
  std::vector<double> ends(6 * s.face_offsets[s.meshes], 0.0);
  parallel(threads, s.meshes * parts, [&](int64_t task) {
    const int64_t b = task / parts, part = task % parts, at = b * s.height * s.width;
    const int64_t first = s.face_offsets[b], size = s.face_offsets[b + 1] - first;
    std::vector<Corner> corners;
    int64_t culprit = 0;
    if (s.project(h, b, corners, culprit) != kDone) return;
    for (int64_t f = first + size * part / parts; f < first + size * (part + 1) / parts; ++f) {
      SoftFace face;
      if (!s.take(corners, b, f, face)) continue;
      soft_face_backward(s, face, f, alpha + at, grad + at, last_depth + (s.limit ? at : 0),
                         last_face + (s.limit ? at : 0), ends.data() + 6 * f);
    }
  });
  parallel(threads, s.meshes, [&](int64_t b) {
    for (int64_t f = s.face_offsets[b]; f < s.face_offsets[b + 1]; ++f)
      for (int j = 0; j < 3; ++j)
        s.add_corner(h, s.faces[3 * f + j], ends[6 * f + 2 * j], ends[6 * f + 2 * j + 1], 0.0,
                     grad_h);
  });
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_SCENE                                                                        \
  const int64_t *faces, const int64_t *vertex_offsets, const int64_t *face_offsets,             \
      int64_t meshes, int64_t height, int64_t width, int64_t limit, double sigma, double blur,  \
      double scale
#define DIFFRENDER_SCENE_NAMES \
  {faces, vertex_offsets, face_offsets, meshes, height, width, limit, sigma, blur, scale}
#define DIFFRENDER_SOFT(NAME, T)                                                                \
  DIFFRENDER_API int64_t diffrender_soft_silhouette_##NAME(                                     \
      DIFFRENDER_SCENE, const T* h, int64_t threads, T* alpha, double* last_depth,              \
      int64_t* last_face, int64_t* culprit) {                                                   \
    return diffrender::guarded([&] {                                                            \
      return diffrender::soft<T>(DIFFRENDER_SCENE_NAMES, h, threads, alpha, last_depth,         \
                                 last_face, culprit);                                           \
    });                                                                                         \
  }                                                                                             \
  DIFFRENDER_API int64_t diffrender_soft_silhouette_backward_##NAME(                            \
      DIFFRENDER_SCENE, const T* h, const T* alpha, const T* grad, const double* last_depth,    \
      const int64_t* last_face, int64_t threads, T* grad_h) {                                   \
    return diffrender::guarded([&] {                                                            \
      return diffrender::soft_backward<T>(DIFFRENDER_SCENE_NAMES, h, alpha, grad, last_depth,   \
                                          last_face, threads, grad_h);                          \
    });                                                                                         \
  }

DIFFRENDER_SOFT(f32, float)
DIFFRENDER_SOFT(f64, double)
