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

// Beyond it S is 0 or 1 to the last bit that matters.
constexpr double kFar = 12;

// share z^2, kept from going out of range.
template <class T>
inline T bend(double share, T z) {
  const T found = T(share) * z * z, most = T(share * kFar * kFar);
  return found > most ? most : found;
}
// z as it is multiplied with S, of which the exponential's bound leaves a little far below zero.
template <class T>
inline T factor(T z) {
  return z < T(-kFar) ? T(-kFar) : z;
}
template <class T>
inline T logistic(T z) {
  const T twice = T(2 * kRoot) * z * (T(1) + bend(kCube, z));
  return T(1) / (T(1) + exponential(-twice));
}
template <class T>
inline T slope(T z) {
  const T s = logistic(z);
  return s + factor(z) * s * (T(1) - s) * T(2 * kRoot) * (T(1) + bend(3 * kCube, z));
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

// The loops over a row stand in functions of their own: with restricted arguments they become
// vector code.
template <class T>
void gelu_row(int64_t width, const T* __restrict x, T* __restrict y) {
  for (int64_t f = 0; f < width; ++f) y[f] = factor(x[f]) * logistic(x[f]);
}
template <class T>
void norm_gelu_row(int64_t width, T mean, T inverse, const T* __restrict x,
                   const T* __restrict weight, const T* __restrict bias, T* __restrict y) {
  for (int64_t f = 0; f < width; ++f) {
    const T z = (x[f] - mean) * inverse * weight[f] + bias[f];
    y[f] = factor(z) * logistic(z);
  }
}
template <class T>
void gelu_row_backward(int64_t width, const T* __restrict x, const T* __restrict dy,
                       T* __restrict dx) {
  for (int64_t f = 0; f < width; ++f) dx[f] = dy[f] * slope(x[f]);
}
// Adds to dw and db; leaves dz w in dx.
template <class T>
void norm_gelu_row_backward(int64_t width, T mean, T inverse, const T* __restrict x,
                            const T* __restrict weight, const T* __restrict bias,
                            const T* __restrict dy, T* __restrict dx, T* __restrict dw,
                            T* __restrict db) {
  for (int64_t f = 0; f < width; ++f) {
    const T hat = (x[f] - mean) * inverse;
    const T dz = dy[f] * slope(hat * weight[f] + bias[f]);
    dw[f] += dz * hat;
    db[f] += dz;
    dx[f] = dz * weight[f];
  }
}
template <class T>
void centre_row(int64_t width, T mean, T inverse, T flat, T along, const T* __restrict x,
                T* __restrict dx) {
  for (int64_t f = 0; f < width; ++f)
    dx[f] = inverse * (dx[f] - flat - (x[f] - mean) * inverse * along);
}

template <class T>
void norm_gelu(int64_t rows, int64_t width, int64_t threads, double epsilon, const T* x,
               const T* weight, const T* bias, T* y, T* stats) {
  parallel_with_torch(threads, tasks(rows), [&](int64_t task) {
    const int64_t last = std::min(rows, (task + 1) * kRowsOfTask);
    for (int64_t i = task * kRowsOfTask; i < last; ++i) {
      const T* from = x + i * width;
      if (!weight) {
        gelu_row(width, from, y + i * width);
        continue;
      }
      const T mean = total<T>(width, [&](int64_t f) { return from[f]; }) / T(width);
      const T square = total<T>(width, [&](int64_t f) {
        return (from[f] - mean) * (from[f] - mean);
      });
      const T inverse = T(1.0 / std::sqrt(double(square) / double(width) + epsilon));
      stats[2 * i] = mean;
      stats[2 * i + 1] = inverse;
      norm_gelu_row(width, mean, inverse, from, weight, bias, y + i * width);
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
    T *dw = sums.data() + 2 * part * width, *db = dw + width;
    for (int64_t i = part * kRowsOfTask; i < last; ++i) {
      const T *from = x + i * width, *grad = dy + i * width;
      T* to = dx + i * width;
      if (!weight) {
        gelu_row_backward(width, from, grad, to);
        continue;
      }
      const T mean = stats[2 * i], inverse = stats[2 * i + 1];
      norm_gelu_row_backward(width, mean, inverse, from, weight, bias, grad, to, dw, db);
      const T flat = total<T>(width, [&](int64_t f) { return to[f]; }) / T(width);
      const T along = total<T>(width, [&](int64_t f) {
        return to[f] * ((from[f] - mean) * inverse);
      }) / T(width);
      centre_row(width, mean, inverse, flat, along, from, to);
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
