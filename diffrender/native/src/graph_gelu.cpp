// GELU after a LayerNorm in one pass over the rows, or alone, and their gradients.
//
//     z = (x - mean) / std * weight + bias  (or z = x),   y = z S(2 u),
//     u = sqrt(2 / pi) (z + 0.044715 z^3),  S the logistic function: the tanh form of GELU.
//
// The gradient with respect to weight and bias is added up by parts of the rows whose number
// depends on the size alone, then in order: it does not depend on the threads.
// Torch twin: diffrender/graph/norm_gelu.py.

#include "graph_math.h"

namespace diffrender {
namespace {

constexpr int kLanes = 16;  // partial sums of a row, the same for every instruction set
constexpr double kRoot = 0.7978845608028654;  // sqrt(2 / pi)
constexpr double kCube = 0.044715;

template <class T>
inline T logistic(T z) {
  const T twice = T(2 * kRoot) * z * (T(1) + T(kCube) * z * z);
  return T(1) / (T(1) + exponential(-twice));
}
template <class T>
inline T slope(T z) {
  const T s = logistic(z);
  return s + z * s * (T(1) - s) * T(2 * kRoot) * (T(1) + T(3 * kCube) * z * z);
}

// The sum of term(f) over a row, in kLanes chains.
template <class T, class Term>
inline T total(int64_t width, Term&& term) {
  T lanes[kLanes] = {};
  int64_t f = 0;
  for (; f + kLanes <= width; f += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += term(f + l);
  for (int l = 0; f < width; ++f, ++l) lanes[l] += term(f);
  T sum = 0;
  for (int l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

template <class T>
void norm_gelu(int64_t rows, int64_t width, int64_t threads, double epsilon, const T* x,
               const T* weight, const T* bias, T* y, T* stats) {
  parallel_with_torch(threads, tasks(rows), [&](int64_t task) {
    const int64_t last = std::min(rows, (task + 1) * kRowsOfTask);
    for (int64_t i = task * kRowsOfTask; i < last; ++i) {
      const T* from = x + i * width;
      T* __restrict to = y + i * width;
      if (!weight) {
        for (int64_t f = 0; f < width; ++f) to[f] = from[f] * logistic(from[f]);
        continue;
      }
      const T mean = total<T>(width, [&](int64_t f) { return from[f]; }) / T(width);
      const T square = total<T>(width, [&](int64_t f) {
        return (from[f] - mean) * (from[f] - mean);
      });
      const T inverse = T(1.0 / std::sqrt(double(square) / double(width) + epsilon));
      stats[2 * i] = mean;
      stats[2 * i + 1] = inverse;
      for (int64_t f = 0; f < width; ++f) {
        const T z = (from[f] - mean) * inverse * weight[f] + bias[f];
        to[f] = z * logistic(z);
      }
    }
  });
}

template <class T>
void norm_gelu_backward(int64_t rows, int64_t width, int64_t threads, const T* x, const T* weight,
                        const T* bias, const T* stats, const T* dy, T* dx, T* dweight, T* dbias) {
  const int64_t parts = tasks(rows);
  std::vector<T> sums(weight ? size_t(2 * parts * width) : 0);
  parallel_with_torch(threads, parts, [&](int64_t part) {
    const int64_t last = std::min(rows, (part + 1) * kRowsOfTask);
    T* __restrict dw = sums.data() + 2 * part * width;
    T* __restrict db = dw + width;
    for (int64_t i = part * kRowsOfTask; i < last; ++i) {
      const T *from = x + i * width, *grad = dy + i * width;
      T* __restrict to = dx + i * width;
      if (!weight) {
        for (int64_t f = 0; f < width; ++f) to[f] = grad[f] * slope(from[f]);
        continue;
      }
      const T mean = stats[2 * i], inverse = stats[2 * i + 1];
      for (int64_t f = 0; f < width; ++f) {
        const T hat = (from[f] - mean) * inverse;
        const T dz = grad[f] * slope(hat * weight[f] + bias[f]);
        dw[f] += dz * hat;
        db[f] += dz;
        to[f] = dz * weight[f];
      }
      const T flat = total<T>(width, [&](int64_t f) { return to[f]; }) / T(width);
      const T along = total<T>(width, [&](int64_t f) {
        return to[f] * ((from[f] - mean) * inverse);
      }) / T(width);
      for (int64_t f = 0; f < width; ++f)
        to[f] = inverse * (to[f] - flat - (from[f] - mean) * inverse * along);
    }
  });
  if (!weight) return;
  std::fill(dweight, dweight + width, T(0));
  std::fill(dbias, dbias + width, T(0));
  for (int64_t part = 0; part < parts; ++part) {
    const T* dw = sums.data() + 2 * part * width;
    for (int64_t f = 0; f < width; ++f) dweight[f] += dw[f];
    for (int64_t f = 0; f < width; ++f) dbias[f] += dw[width + f];
  }
}

}  // namespace
}  // namespace diffrender

// Without weight and bias: GELU alone, and `stats`, `dweight`, `dbias` are not touched.
#define DIFFRENDER_NORM_GELU(NAME, T)                                                           \
  DIFFRENDER_API int64_t diffrender_norm_gelu_##NAME(                                           \
      int64_t rows, int64_t width, int64_t threads, double epsilon, const T* x,                 \
      const T* weight, const T* bias, T* y, T* stats) {                                         \
    return diffrender::guarded([&]() -> int64_t {                                               \
      diffrender::norm_gelu<T>(rows, width, threads, epsilon, x, weight, bias, y, stats);       \
      return diffrender::kDone;                                                                 \
    });                                                                                         \
  }                                                                                             \
  DIFFRENDER_API int64_t diffrender_norm_gelu_backward_##NAME(                                  \
      int64_t rows, int64_t width, int64_t threads, const T* x, const T* weight, const T* bias, \
      const T* stats, const T* dy, T* dx, T* dweight, T* dbias) {                               \
    return diffrender::guarded([&]() -> int64_t {                                               \
      diffrender::norm_gelu_backward<T>(rows, width, threads, x, weight, bias, stats, dy, dx,   \
                                        dweight, dbias);                                        \
      return diffrender::kDone;                                                                 \
    });                                                                                         \
  }

DIFFRENDER_NORM_GELU(f32, float)
DIFFRENDER_NORM_GELU(f64, double)
