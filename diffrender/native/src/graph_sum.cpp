// Sums along the links of a graph: out = start + P values, P a 0/1 matrix by rows.
//
//     out[t] = start[t] + sum_{k = offsets[t]}^{offsets[t+1] - 1} values[rows[k]]
//
// The one kernel behind gathering (one link a row), scattering (edges to their receivers) and the
// sum over neighbours (nodes to their receivers, without a copy for each edge). The gradient is the
// same sum along the transposed links. Every row is added up in the order of its links by one
// thread, so the result does not depend on the threads.
// Torch twin: diffrender/graph/scatter.py.

#include "graph_math.h"

namespace diffrender {
namespace {

template <class T>
int64_t link_sum(const T* values, const int64_t* rows, const int64_t* offsets, int64_t targets,
                 int64_t width, const T* start, int64_t threads, T* out) {
  parallel_with_torch(threads, tasks(targets), [&](int64_t task) {
    const int64_t last = std::min(targets, (task + 1) * kRowsOfTask);
    for (int64_t t = task * kRowsOfTask; t < last; ++t) {
      T* __restrict to = out + t * width;
      int64_t k = offsets[t];
      const int64_t end = offsets[t + 1];
      if (start) {
        std::memcpy(to, start + t * width, size_t(width) * sizeof(T));
      } else if (k < end) {
        std::memcpy(to, values + rows[k++] * width, size_t(width) * sizeof(T));
      } else {
        std::memset(to, 0, size_t(width) * sizeof(T));
      }
      for (; k < end; ++k) {
        const T* from = values + rows[k] * width;
        for (int64_t f = 0; f < width; ++f) to[f] += from[f];
      }
    }
  });
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_LINK_SUM(NAME, T)                                                           \
  DIFFRENDER_API int64_t diffrender_link_sum_##NAME(                                           \
      const T* values, const int64_t* rows, const int64_t* offsets, int64_t targets,           \
      int64_t width, const T* start, int64_t threads, T* out) {                                \
    return diffrender::guarded([&] {                                                           \
      return diffrender::link_sum<T>(values, rows, offsets, targets, width, start, threads, out); \
    });                                                                                        \
  }

DIFFRENDER_LINK_SUM(f32, float)
DIFFRENDER_LINK_SUM(f64, double)
