// Attributes at pixels; twin: diffrender/raster/torch_raster.py (interpolate).
//
// out = sum_j b_j a_(f,j), where corner j of face f reads row faces[f, j] of the attributes
// (or row 3 f + j when attributes belong to corners). Backward: dL/db_j = a_(f,j) . dL/dout and
// dL/da_(f,j) = sum over pixels of b_j dL/dout. Pixels in a row come in runs that show the same
// face, whose corners are read once. Backward an image is cut into chunks of a fixed size: within
// one every face adds up its pixels in scan order, and the chunks' faces are then added to the rows
// of attributes in order, so the bits do not depend on threads. The loops over channels are
// unrolled for one to four of them.

#include <atomic>

#include "raster.h"

namespace diffrender {
namespace {

constexpr int64_t kPixelsEach = 8192;

struct Corners {
  const int64_t* faces;  // null when attributes belong to corners
  int64_t operator()(int64_t f, int j) const { return faces ? faces[3 * f + j] : 3 * f + j; }
};

// One layer of the maps of all images.
template <class T>
struct Layer {
  const int64_t* face;
  int64_t face_stride;
  const T* bary;
  int64_t bary_stride;
};

template <int C, class T>
inline void blend_run(const T* v0, const T* v1, const T* v2, int64_t channels, const T* bary,
                      int64_t stride, int64_t count, T* out) {
  const int64_t size = C ? C : channels;
  if (C == 3) {  // three channels as lanes: the compiler would take them one by one
    typedef T Four __attribute__((vector_size(4 * sizeof(T))));
    const Four a{v0[0], v0[1], v0[2], 0}, b{v1[0], v1[1], v1[2], 0}, c{v2[0], v2[1], v2[2], 0};
    for (int64_t i = 0; i < count; ++i) {
      const T *w = bary + i * stride;
      const Four mixed = w[0] * a + w[1] * b + w[2] * c;
      std::memcpy(out + 3 * i, &mixed, 3 * sizeof(T));
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const T b0 = bary[i * stride], b1 = bary[i * stride + 1], b2 = bary[i * stride + 2];
    for (int64_t c = 0; c < size; ++c) out[i * size + c] = b0 * v0[c] + b1 * v1[c] + b2 * v2[c];
  }
}

template <int C, class T>
int64_t forward_chunk(const T* values, const Corners& corner, int64_t rows, int64_t face_count,
                      int64_t channels, const Layer<T>& maps, int64_t first, int64_t last, T* out) {
  for (int64_t i = first, end; i < last; i = end) {
    const int64_t f = maps.face[i * maps.face_stride];
    for (end = i + 1; end < last && maps.face[end * maps.face_stride] == f;) ++end;
    if (f < 0 || f >= face_count) {
      std::fill_n(out + i * channels, (end - i) * channels, T(0));
      continue;
    }
    const int64_t r[3] = {corner(f, 0), corner(f, 1), corner(f, 2)};
    if (std::min({r[0], r[1], r[2]}) < 0 || std::max({r[0], r[1], r[2]}) >= rows) return kBadIndex;
    blend_run<C>(values + r[0] * channels, values + r[1] * channels, values + r[2] * channels,
                 channels, maps.bary + i * maps.bary_stride, maps.bary_stride, end - i,
                 out + i * channels);
  }
  return kDone;
}

template <class T>
int64_t interpolate(const T* values, const int64_t* faces, int64_t rows, int64_t face_count,
                    int64_t channels, const Layer<T>& maps, int64_t pixels, int64_t threads,
                    T* out) {
  const Corners corner{faces};
  const auto run = channels == 1   ? forward_chunk<1, T>
                   : channels == 2 ? forward_chunk<2, T>
                   : channels == 3 ? forward_chunk<3, T>
                   : channels == 4 ? forward_chunk<4, T>
                                   : forward_chunk<0, T>;
  const int64_t chunks = (pixels + kPixelsEach - 1) / kPixelsEach;
  large_pages(out, pixels * channels * int64_t(sizeof(T)));
  std::vector<int64_t> status(chunks, kDone);
  parallel(threads, chunks, [&](int64_t k) {
    status[k] = run(values, corner, rows, face_count, channels, maps, k * kPixelsEach,
                    std::min(pixels, (k + 1) * kPixelsEach), out);
  });
  for (int64_t s : status)
    if (s != kDone) return s;
  return kDone;
}

// dL/db along one run of pixels of one face: lanes are the corners.
template <int C, class T>
inline void run_to_bary(const T* const v[3], int64_t channels, const T* grad, int64_t count,
                        int64_t stride, T* grad_bary) {
  const int64_t size = C ? C : channels;
  Lanes4 corners[C ? C : 1];
  for (int64_t c = 0; C && c < size; ++c)
    corners[c] = Lanes4{double(v[0][c]), double(v[1][c]), double(v[2][c]), 0.0};
  for (int64_t i = 0; i < count; ++i) {
    const T* g = grad + i * size;
    Lanes4 d{0, 0, 0, 0};
    for (int64_t c = 0; c < size; ++c) {
      const Lanes4 at = C ? corners[C ? c : 0]
                          : Lanes4{double(v[0][c]), double(v[1][c]), double(v[2][c]), 0.0};
      d += spread(g[c]) * at;
    }
    const T three[3] = {T(d[0]), T(d[1]), T(d[2])};
    std::memcpy(grad_bary + i * stride, three, sizeof three);
  }
}

// dL/da of the three corners (lanes), (C, 4), added up along one run; in registers where C is
// known. `safe` pixels may be read four numbers at a time.
template <int C, class T>
inline void run_to_values(int64_t channels, const T* bary, int64_t stride, const T* grad,
                          int64_t count, int64_t safe, double* sums) {
  const int64_t size = C ? C : channels;
  Lanes4 own[C ? C : 1];
  for (int64_t c = 0; C && c < size; ++c) own[c] = load4(sums + 4 * c);
  for (int64_t i = 0; i < count; ++i) {
    const T* g = grad + i * size;
    const Lanes4 b = i < safe ? load4(bary + i * stride) : load3(bary + i * stride);
    for (int64_t c = 0; c < size; ++c) {
      if (C) {
        own[C ? c : 0] += spread(g[c]) * b;
      } else {
        const Lanes4 sum = load4(sums + 4 * c) + spread(g[c]) * b;
        std::memcpy(sums + 4 * c, &sum, sizeof sum);
      }
    }
  }
  for (int64_t c = 0; C && c < size; ++c) std::memcpy(sums + 4 * c, own + c, sizeof own[c]);
}

template <class T>
struct Backward {
  const T *values, *grad;
  Corners corner;
  int64_t channels, entries;  // entries: pixels of all images
  Layer<T> maps;
  T *grad_values, *grad_bary;  // null for not wanted
  mutable std::atomic<bool> stray{false};  // a pixel shows a face of another image

  // Pixels [first, last) of all; `sums` gets the (C, 4) gradients of the faces that `met` lists.
  template <int C>
  void chunk(int64_t face0, int64_t count, int64_t first, int64_t last, Met& met,
             std::vector<double>& sums) const {
    const int64_t size = C ? C : channels;
    met.open(count);
    sums.clear();
    visit_runs(maps.face, maps.face_stride, first, last, [&](int64_t i, int64_t end, int64_t f) {
      if (f < 0) {
        for (int64_t p = i; grad_bary && p < end; ++p)
          std::memset(grad_bary + p * maps.bary_stride, 0, 3 * sizeof(T));
        return;
      }
      if (f < face0 || f >= face0 + count) {
        stray = true;
        return;
      }
      if (grad_bary) {
        const T* const v[3] = {values + corner(f, 0) * size, values + corner(f, 1) * size,
                               values + corner(f, 2) * size};
        run_to_bary<C>(v, channels, grad + i * size, end - i, maps.bary_stride,
                       grad_bary + i * maps.bary_stride);
      }
      if (!grad_values) return;
      bool fresh;
      const int64_t n = met.of(f - face0, fresh);
      if (fresh) sums.resize(sums.size() + 4 * size, 0.0);
      run_to_values<C>(channels, maps.bary + i * maps.bary_stride, maps.bary_stride,
                       grad + i * size, end - i, std::min(end, entries - 1) - i,
                       sums.data() + 4 * size * n);
    });
    met.close();
  }

  void scatter(int64_t face0, const std::vector<int64_t>& faces,
               const std::vector<double>& sums) const {
    for (size_t n = 0; n < faces.size(); ++n)
      for (int j = 0; j < 3; ++j) {
        T* o = grad_values + corner(face0 + faces[n], j) * channels;
        const double* s = sums.data() + 4 * channels * n + j;
        for (int64_t c = 0; c < channels; ++c) o[c] += T(s[4 * c]);
      }
  }
};

template <class T>
int64_t interpolate_backward(const Backward<T>& work, const int64_t* face_offsets, int64_t meshes,
                             int64_t rows, int64_t pixels, int64_t threads) {
  const int64_t channels = work.channels, chunks = chunks_of(pixels);
  const auto run = channels == 1   ? &Backward<T>::template chunk<1>
                   : channels == 2 ? &Backward<T>::template chunk<2>
                   : channels == 3 ? &Backward<T>::template chunk<3>
                   : channels == 4 ? &Backward<T>::template chunk<4>
                                   : &Backward<T>::template chunk<0>;
  if (work.grad_values)
    set_zero(threads, work.grad_values, rows * channels * int64_t(sizeof(T)));
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
  std::vector<std::vector<int64_t>> faces(chunks);
  std::vector<std::vector<double>> sums(chunks);
  for (int64_t b = 0; b < meshes; ++b) {
    parallel(threads, chunks, [&](int64_t k) {
      thread_local Met met;
      chunk(b, k, met, sums[k]);
      faces[k] = met.faces;
    });
    for (int64_t k = 0; k < chunks; ++k) work.scatter(face_offsets[b], faces[k], sums[k]);
  }
  return work.stray ? kBadIndex : kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_INTERPOLATE(NAME, T)                                                          \
  DIFFRENDER_API int64_t diffrender_interpolate_##NAME(                                          \
      const T* values, const int64_t* faces, int64_t rows, int64_t face_count, int64_t channels, \
      const int64_t* face, int64_t face_stride, const T* bary, int64_t bary_stride,              \
      int64_t pixels, int64_t threads, T* out) {                                                 \
    return diffrender::guarded([&] {                                                             \
      return diffrender::interpolate<T>(values, faces, rows, face_count, channels,               \
                                        {face, face_stride, bary, bary_stride}, pixels, threads, \
                                        out);                                                    \
    });                                                                                          \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_interpolate_backward_##NAME(                                 \
      const T* values, const int64_t* faces, const int64_t* face_offsets, int64_t meshes,        \
      int64_t rows, int64_t channels, int64_t pixels, const int64_t* face, int64_t face_stride,  \
      const T* bary, int64_t bary_stride, const T* grad, int64_t threads, T* grad_values,        \
      T* grad_bary) {                                                                            \
    return diffrender::guarded([&] {                                                             \
      const diffrender::Backward<T> work{values, grad, {faces}, channels, meshes * pixels,       \
                                         {face, face_stride, bary, bary_stride},                 \
                                         grad_values, grad_bary};                                \
      return diffrender::interpolate_backward(work, face_offsets, meshes, rows, pixels,          \
                                              threads);                                          \
    });                                                                                          \
  }

DIFFRENDER_INTERPOLATE(f32, float)
DIFFRENDER_INTERPOLATE(f64, double)
