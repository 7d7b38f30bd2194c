// Gradient of interpolate.cpp straight to the vertices; twin: torch_raster.py (interpolate after
// rasterize).
//
// Where the barycentrics are those that rasterize.cpp computed, dL/db need not be written out for
// every pixel and read again. With d_j = a_(f,j) . dL/dout, g = d - (b . d) and A_ji = sum over the
// face's pixels of b_j g_i: dL/dh_j = -sum_i A_ji n_i / det, as in rasterize_backward.cpp, and
// dL/da_(f,j) = sum of b_j dL/dout. Lanes are corners. Sums are taken per chunk of fixed size in scan
// order, chunks are added in order: the bits do not depend on threads.

#include <atomic>

#include "raster.h"

namespace diffrender {
namespace {

template <class T>
struct Through {
  const T *values, *h, *bary, *grad;
  const int64_t *faces, *face;
  bool corners;  // attributes belong to corners
  int64_t channels, stride, entries;  // stride: layers; entries: pixels of all images
  T *grad_values, *grad_h;            // null for not wanted
  mutable std::atomic<bool> stray{false};  // a pixel shows a face of another image

  int64_t row(int64_t f, int j) const { return corners ? 3 * f + j : faces[3 * f + j]; }
  int64_t sums_each() const { return 12 + 4 * channels; }

  // One run of pixels of face f: sums are A (3, 4) and then dL/da (C, 4).
  template <int C>
  void run(int64_t f, int64_t first, int64_t last, double* sums) const {
    const int64_t size = C ? C : channels;
    const T *v0 = values + row(f, 0) * size, *v1 = values + row(f, 1) * size,
            *v2 = values + row(f, 2) * size;
    Lanes4 own[C ? C : 1], at[C ? C : 1];
    for (int64_t c = 0; C && c < size; ++c) {
      own[c] = load4(sums + 12 + 4 * c);
      at[c] = Lanes4{double(v0[c]), double(v1[c]), double(v2[c]), 0.0};
    }
    Lanes4 a0 = load4(sums), a1 = load4(sums + 4), a2 = load4(sums + 8);
    for (int64_t i = first; i < last; ++i) {
      const T *g = grad + i * size, *w = bary + 3 * i * stride;
      const Lanes4 b = i + 1 < entries ? load4(w) : load3(w);  // the next pixel's, or the last one
      Lanes4 d{0, 0, 0, 0};
      for (int64_t c = 0; c < size; ++c) {
        const Lanes4 by = spread(g[c]);
        if (C) {
          d += by * at[C ? c : 0];
          own[C ? c : 0] += by * b;
        } else {
          d += by * Lanes4{double(v0[c]), double(v1[c]), double(v2[c]), 0.0};
          const Lanes4 sum = load4(sums + 12 + 4 * c) + by * b;
          std::memcpy(sums + 12 + 4 * c, &sum, sizeof sum);
        }
      }
      d -= spread(sum3(b * d));
      a0 += spread(b[0]) * d;
      a1 += spread(b[1]) * d;
      a2 += spread(b[2]) * d;
    }
    std::memcpy(sums, &a0, sizeof a0);
    std::memcpy(sums + 4, &a1, sizeof a1);
    std::memcpy(sums + 8, &a2, sizeof a2);
    for (int64_t c = 0; C && c < size; ++c) std::memcpy(sums + 12 + 4 * c, own + c, sizeof own[c]);
  }

  template <int C>
  void chunk(int64_t face0, int64_t count, int64_t first, int64_t last, Met& met,
             std::vector<double>& sums) const {
    met.open(count);
    sums.clear();
    visit_runs(face, stride, first, last, [&](int64_t i, int64_t end, int64_t f) {
      if (f < 0) return;
      if (f < face0 || f >= face0 + count) {
        stray = true;
        return;
      }
      bool fresh;
      const int64_t n = met.of(f - face0, fresh);
      if (fresh) sums.resize(sums.size() + sums_each(), 0.0);
      run<C>(f, i, end, sums.data() + sums_each() * n);
    });
    met.close();
  }

  void scatter(int64_t face0, const std::vector<int64_t>& shown,
               const std::vector<double>& sums) const {
    for (size_t n = 0; n < shown.size(); ++n) {
      const int64_t f = face0 + shown[n];
      const double* a = sums.data() + sums_each() * n;
      if (grad_values)
        for (int j = 0; j < 3; ++j)
          for (int64_t c = 0; c < channels; ++c)
            grad_values[row(f, j) * channels + c] += T(a[12 + 4 * c + j]);
      if (!grad_h) continue;
      const int64_t* v = faces + 3 * f;
      const Vec3 p[3] = {load(h, v[0]), load(h, v[1]), load(h, v[2])};
      const Vec3 normal[3] = {cross(p[1], p[2]), cross(p[2], p[0]), cross(p[0], p[1])};
      const double scale = -1.0 / dot(p[0], normal[0]);
      for (int j = 0; j < 3; ++j, a += 4)
        add(grad_h, v[j], (normal[0] * a[0] + normal[1] * a[1] + normal[2] * a[2]) * scale);
    }
  }
};

template <class T>
int64_t interpolate_through(const Through<T>& work, const int64_t* face_offsets, int64_t meshes,
                            int64_t rows, int64_t vertices, int64_t pixels, int64_t threads) {
  const int64_t channels = work.channels, chunks = chunks_of(pixels);
  const auto run = channels == 1   ? &Through<T>::template chunk<1>
                   : channels == 2 ? &Through<T>::template chunk<2>
                   : channels == 3 ? &Through<T>::template chunk<3>
                   : channels == 4 ? &Through<T>::template chunk<4>
                                   : &Through<T>::template chunk<0>;
  if (work.grad_values)
    set_zero(threads, work.grad_values, rows * channels * int64_t(sizeof(T)));
  if (work.grad_h) set_zero(threads, work.grad_h, 3 * vertices * int64_t(sizeof(T)));
  const auto chunk = [&](int64_t b, int64_t k, Met& met, std::vector<double>& sums) {
    const int64_t face0 = face_offsets[b], first = b * pixels + k * kChunkPixels;
    const int64_t last = std::min((b + 1) * pixels, first + kChunkPixels);
    (work.*run)(face0, face_offsets[b + 1] - face0, first, last, met, sums);
  };
  if (meshes >= 2 * threads || threads <= 1) {
    parallel(threads, meshes, [&](int64_t b) {
      thread_local Met met;  // kept between calls
      thread_local std::vector<double> sums;
      for (int64_t k = 0; k < chunks; ++k) {
        chunk(b, k, met, sums);
        work.scatter(face_offsets[b], met.faces, sums);
      }
    });
    return work.stray ? kBadIndex : kDone;
  }
  std::vector<std::vector<int64_t>> shown(chunks);
  std::vector<std::vector<double>> sums(chunks);
  for (int64_t b = 0; b < meshes; ++b) {
    parallel(threads, chunks, [&](int64_t k) {
      thread_local Met met;
      chunk(b, k, met, sums[k]);
      shown[k] = met.faces;
    });
    for (int64_t k = 0; k < chunks; ++k) work.scatter(face_offsets[b], shown[k], sums[k]);
  }
  return work.stray ? kBadIndex : kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_INTERPOLATE_THROUGH(NAME, T)                                                  \
  DIFFRENDER_API int64_t diffrender_interpolate_through_##NAME(                                  \
      const T* values, const T* h, const int64_t* faces, const int64_t* face_offsets,            \
      int64_t meshes, int64_t rows, int64_t vertices, int64_t channels, int64_t pixels,          \
      int64_t corners, const int64_t* face, int64_t stride, const T* bary, const T* grad,        \
      int64_t threads, T* grad_values, T* grad_h) {                                              \
    return diffrender::guarded([&] {                                                             \
      const diffrender::Through<T> work{values,  h,        bary,           grad,   faces,        \
                                        face,    corners != 0, channels,   stride,               \
                                        meshes * pixels, grad_values, grad_h};                   \
      return diffrender::interpolate_through(work, face_offsets, meshes, rows, vertices, pixels, \
                                             threads);                                           \
    });                                                                                          \
  }

DIFFRENDER_INTERPOLATE_THROUGH(f32, float)
DIFFRENDER_INTERPOLATE_THROUGH(f64, double)
