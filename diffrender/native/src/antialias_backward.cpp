// Gradient of antialias.cpp, from the crossings that its forward pass listed.
//
// A crossing blended target += alpha (in - out), alpha = sign (v - centre) - 1/2, where the edge
// from a to b passes v at the share `along` of its way. So dL/din += alpha g, dL/dout -= alpha g and
// dL/dv = sign g . (in - out), which moves both ends: along v by their shares, along u against the
// slope dv/du. Columns are undone before rows; crossings come in edge order.

#include "common.h"

namespace diffrender {
namespace {

// Crossings [0, n) of one direction of one image.
template <class T>
struct Part {
  const int32_t* index;
  const double* weight;
  const T* difference;
  int64_t count;
};

// Gradient of `blend`, in place: `grad` is dL/dtarget and becomes dL/dsource; `ends` gathers dL/dx
// and dL/dy of the projected vertices.
template <class T>
void blend_backward(const Part<T>& part, int64_t channels, bool upright, T* grad, double* ends) {
  thread_local std::vector<T> before;  // the gradients that the crossings saw
  before.resize(part.count * channels);
  const auto target = [&](int64_t n) {
    return (part.weight[4 * n + 3] > 0 ? part.index[4 * n + 1] : part.index[4 * n]) * channels;
  };
  for (int64_t n = 0; n < part.count; ++n)
    std::copy_n(grad + target(n), channels, before.data() + n * channels);
  for (int64_t n = 0; n < part.count; ++n) {
    const int32_t *k = part.index + 4 * n;
    const double *w = part.weight + 4 * n;
    const T *g = before.data() + n * channels, *d = part.difference + n * channels;
    double slide = 0;
    for (int64_t c = 0; c < channels; ++c) {
      slide += double(g[c]) * double(d[c]);
      grad[k[0] * channels + c] += T(w[3] * g[c]);
      grad[k[1] * channels + c] -= T(w[3] * g[c]);
    }
    slide *= w[2];  // now dL/dv of the crossing
    const int v = upright ? 1 : 0, u = 1 - v;
    ends[2 * k[2] + v] += (1.0 - w[0]) * slide;
    ends[2 * k[3] + v] += w[0] * slide;
    ends[2 * k[2] + u] -= (1.0 - w[0]) * w[1] * slide;
    ends[2 * k[3] + u] -= w[0] * w[1] * slide;
  }
}

// From `source` = dL/dout to `grad` = dL/dimage and dL/dh.
template <class T>
int64_t antialias_backward(const T* h, const int64_t* vertex_offsets, int64_t meshes,
                           int64_t height, int64_t width, int64_t channels, const int32_t* index,
                           const double* weight, const T* difference, const int64_t* counts,
                           const T* source, int64_t threads, T* grad, T* grad_h) {
  const int64_t size = height * width * channels;
  const int64_t inner = meshes >= threads ? 1 : threads;
  large_pages(grad, meshes * size * int64_t(sizeof(T)));
  if (inner > 1) copy(inner, grad, source, meshes * size * int64_t(sizeof(T)));
  std::vector<int64_t> first(2 * meshes + 1, 0);
  for (int64_t i = 0; i < 2 * meshes; ++i) first[i + 1] = first[i] + counts[i];
  parallel(threads, meshes, [&](int64_t b) {
    const int64_t vertex0 = vertex_offsets[b], vertex1 = vertex_offsets[b + 1];
    if (inner == 1) copy(1, grad + b * size, source + b * size, size * int64_t(sizeof(T)));
    std::memset(grad_h + 3 * vertex0, 0, 3 * (vertex1 - vertex0) * sizeof(T));
    std::vector<double> ends(2 * (vertex1 - vertex0), 0.0);
    for (int i = 1; i >= 0; --i) {
      const int64_t at = first[2 * b + i];
      const Part<T> part{index + 4 * at, weight + 4 * at, difference + channels * at,
                         counts[2 * b + i]};
      blend_backward(part, channels, i == 1, grad + b * size, ends.data());
    }
    for (int64_t v = vertex0; v < vertex1; ++v) {
      const double gx = ends[2 * (v - vertex0)], gy = ends[2 * (v - vertex0) + 1];
      if (gx == 0 && gy == 0) continue;
      const Vec3 p = load(h, v);
      const double inverse = 1.0 / p.z;
      add(grad_h, v, {gx * inverse, gy * inverse, -(gx * p.x + gy * p.y) * inverse * inverse});
    }
  });
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_ANTIALIAS_BACKWARD(NAME, T)                                                   \
  DIFFRENDER_API int64_t diffrender_antialias_backward_##NAME(                                   \
      const T* h, const int64_t* vertex_offsets, int64_t meshes, int64_t height, int64_t width,  \
      int64_t channels, const int32_t* index, const double* weight, const T* difference,         \
      const int64_t* counts, const T* source, int64_t threads, T* grad, T* grad_h) {             \
    return diffrender::guarded([&] {                                                             \
      return diffrender::antialias_backward(h, vertex_offsets, meshes, height, width, channels,  \
                                            index, weight, difference, counts, source, threads,  \
                                            grad, grad_h);                                       \
    });                                                                                          \
  }

DIFFRENDER_ANTIALIAS_BACKWARD(f32, float)
DIFFRENDER_ANTIALIAS_BACKWARD(f64, double)
