// Attributes at pixels; twin: diffrender/raster/torch_raster.py (interpolate).
//
// out = sum_j b_j a_(f,j), where corner j of face f reads row faces[f, j] of the attributes
// (or row 3 f + j when attributes belong to corners). Backward: dL/db_j = a_(f,j) . dL/dout and
// dL/da_(f,j) = sum over pixels of b_j dL/dout; pixels add up per corner in scan order, corners in
// face order. A mesh owns its rows, so meshes run side by side.

#include "common.h"

namespace diffrender {
namespace {

struct Corners {
  const int64_t* faces;  // null when attributes belong to corners
  int64_t operator()(int64_t f, int j) const { return faces ? faces[3 * f + j] : 3 * f + j; }
};

template <class T>
int64_t interpolate(const T* values, const int64_t* faces, int64_t rows, int64_t face_count,
                    int64_t channels, const int64_t* face, int64_t face_stride, const T* bary,
                    int64_t bary_stride, int64_t pixels, int64_t threads, T* out) {
  const Corners corner{faces};
  const int64_t chunk = 4096, chunks = (pixels + chunk - 1) / chunk;
  std::vector<int64_t> status(chunks, kDone);
  parallel(threads, chunks, [&](int64_t task) {
    const int64_t end = std::min(pixels, (task + 1) * chunk);
    for (int64_t i = task * chunk; i < end; ++i) {
      T* o = out + i * channels;
      const int64_t f = face[i * face_stride];
      if (f < 0 || f >= face_count) {
        for (int64_t c = 0; c < channels; ++c) o[c] = T(0);
        continue;
      }
      const T* b = bary + i * bary_stride;
      const int64_t r[3] = {corner(f, 0), corner(f, 1), corner(f, 2)};
      if (std::min({r[0], r[1], r[2]}) < 0 || std::max({r[0], r[1], r[2]}) >= rows) {
        status[task] = kBadIndex;
        return;
      }
      const T *v0 = values + r[0] * channels, *v1 = values + r[1] * channels,
              *v2 = values + r[2] * channels;
      for (int64_t c = 0; c < channels; ++c) o[c] = b[0] * v0[c] + b[1] * v1[c] + b[2] * v2[c];
    }
  });
  for (int64_t s : status)
    if (s != kDone) return s;
  return kDone;
}

template <class T>
int64_t interpolate_backward(const T* values, const int64_t* faces, const int64_t* face_offsets,
                             int64_t meshes, int64_t channels, const int64_t* face,
                             int64_t face_stride, const T* bary, int64_t bary_stride,
                             int64_t pixels_each, const T* grad, int64_t threads, T* grad_values,
                             T* grad_bary) {
  const Corners corner{faces};
  parallel(threads, meshes, [&](int64_t b) {
    const int64_t low = face_offsets[b], high = face_offsets[b + 1];
    std::vector<double> sums(grad_values ? 3 * channels * (high - low) : 0, 0.0);
    std::vector<char> touched(grad_values ? high - low : 0, 0);
    for (int64_t i = b * pixels_each; i < (b + 1) * pixels_each; ++i) {
      const int64_t f = face[i * face_stride];
      T* gb = grad_bary ? grad_bary + i * bary_stride : nullptr;
      if (f < low || f >= high) {
        if (gb) gb[0] = gb[1] = gb[2] = T(0);
        continue;
      }
      const T* g = grad + i * channels;
      const T* w = bary + i * bary_stride;
      for (int j = 0; j < 3; ++j) {
        if (gb) {
          const T* v = values + corner(f, j) * channels;
          double total = 0;
          for (int64_t c = 0; c < channels; ++c) total += double(g[c]) * v[c];
          gb[j] = T(total);
        }
        if (grad_values) {
          double* s = sums.data() + (3 * (f - low) + j) * channels;
          for (int64_t c = 0; c < channels; ++c) s[c] += double(w[j]) * g[c];
        }
      }
      if (grad_values) touched[f - low] = 1;
    }
    if (!grad_values) return;
    for (int64_t f = low; f < high; ++f) {
      if (!touched[f - low]) continue;
      for (int j = 0; j < 3; ++j) {
        T* o = grad_values + corner(f, j) * channels;
        const double* s = sums.data() + (3 * (f - low) + j) * channels;
        for (int64_t c = 0; c < channels; ++c) o[c] += T(s[c]);
      }
    }
  });
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_INTERPOLATE(NAME, T)                                                          \
  DIFFRENDER_API int64_t diffrender_interpolate_##NAME(                                          \
      const T* values, const int64_t* faces, int64_t rows, int64_t face_count, int64_t channels, \
      const int64_t* face, int64_t face_stride, const T* bary, int64_t bary_stride,              \
      int64_t pixels, int64_t threads, T* out) {                                                 \
    return diffrender::guarded([&] {                                                             \
      return diffrender::interpolate(values, faces, rows, face_count, channels, face,            \
                                     face_stride, bary, bary_stride, pixels, threads, out);      \
    });                                                                                          \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_interpolate_backward_##NAME(                                 \
      const T* values, const int64_t* faces, const int64_t* face_offsets, int64_t meshes,        \
      int64_t channels, const int64_t* face, int64_t face_stride, const T* bary,                 \
      int64_t bary_stride, int64_t pixels_each, const T* grad, int64_t threads, T* grad_values,  \
      T* grad_bary) {                                                                            \
    return diffrender::guarded([&] {                                                             \
      return diffrender::interpolate_backward(values, faces, face_offsets, meshes, channels,     \
                                              face, face_stride, bary, bary_stride, pixels_each, \
                                              grad, threads, grad_values, grad_bary);            \
    });                                                                                          \
  }

DIFFRENDER_INTERPOLATE(f32, float)
DIFFRENDER_INTERPOLATE(f64, double)
