// Attention within each graph of a ragged batch, all heads at once, and its gradient.
//
//     s_ijh = q_ih . k_jh / sqrt(D) + bias_ijh,   w_ijh = softmax over j of s_ijh,
//     out_ih = sum_j keep_ijh w_ijh v_jh
//
// i and j run over the nodes of one graph; the pairs of all graphs lie one after another, row by
// row, each with its H heads side by side. Queries, keys and values are copied to (D, H) first, so
// that every inner loop runs over the heads and fills vector lanes whatever the width D of a head.
// A graph is one task and adds up in a fixed order: the result does not depend on the threads.
// Torch twin: diffrender/graph/attention.py.

#include "graph_math.h"

namespace diffrender {
namespace {

struct Ragged {
  const int64_t *node_offsets, *pair_offsets;
  int64_t graphs, heads, width;
  int64_t row() const { return heads * width; }
};

// (rows, H, D) at a stride to (rows, D, H), times `scale`, and back (added up).
template <class T>
void pack(const T* from, int64_t stride, int64_t rows, const Ragged& r, T scale, T* to) {
  for (int64_t i = 0; i < rows; ++i, from += stride, to += r.row())
    for (int64_t h = 0; h < r.heads; ++h)
      for (int64_t d = 0; d < r.width; ++d) to[d * r.heads + h] = scale * from[h * r.width + d];
}
template <class T>
void unpack(const T* from, int64_t rows, const Ragged& r, T scale, T* to, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i, from += r.row(), to += stride)
    for (int64_t h = 0; h < r.heads; ++h)
      for (int64_t d = 0; d < r.width; ++d) to[h * r.width + d] = scale * from[d * r.heads + h];
}

// sum over d of a_dh b_dh for every head; H, W: heads and width where they are known beforehand,
// else 0. The sums stay in registers then.
template <class T, int H, int W>
inline void dots(const T* __restrict a, const T* __restrict b, const Ragged& r,
                 T* __restrict sums) {
  const int64_t heads = H ? H : r.heads, width = W ? W : r.width;
  constexpr int kStep = H ? 8 : 1;
  for (int64_t first = 0; first < heads; first += kStep) {
    T part[kStep];
    for (int l = 0; l < kStep; ++l) part[l] = a[first + l] * b[first + l];
    for (int64_t d = 1; d < width; ++d)
      for (int l = 0; l < kStep; ++l) part[l] += a[d * heads + first + l] * b[d * heads + first + l];
    for (int l = 0; l < kStep; ++l) sums[first + l] = part[l];
  }
}
// to_dh += weight_h from_dh
template <class T, int H, int W>
inline void spread(const T* __restrict weight, const T* __restrict from, const Ragged& r,
                   T* __restrict to) {
  const int64_t heads = H ? H : r.heads, width = W ? W : r.width;
  for (int64_t d = 0; d < width; ++d)
    for (int64_t h = 0; h < heads; ++h) to[d * heads + h] += weight[h] * from[d * heads + h];
}

template <class T, int H, int W>
void forward(const Ragged& r, int64_t g, const T* qkv, const T* bias, const T* keep, T* out,
             T* weights) {
  const int64_t heads = H ? H : r.heads, row = r.row();
  const int64_t first = r.node_offsets[g], n = r.node_offsets[g + 1] - first;
  std::vector<T> room(size_t((2 * n + 2) * row + 3 * heads));
  T *k = room.data(), *v = k + n * row, *q = v + n * row, *o = q + row, *top = o + row;
  T *sum = top + heads, *kept = sum + heads;
  pack<T>(qkv + first * 3 * row + row, 3 * row, n, r, T(1), k);
  pack<T>(qkv + first * 3 * row + 2 * row, 3 * row, n, r, T(1), v);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t pair = r.pair_offsets[g] + i * n;
    T* w = weights + pair * heads;
    pack<T>(qkv + (first + i) * 3 * row, 3 * row, 1, r, T(1.0 / std::sqrt(double(r.width))), q);
    for (int64_t j = 0; j < n; ++j) dots<T, H, W>(q, k + j * row, r, w + j * heads);
    if (bias)
      for (int64_t e = 0; e < n * heads; ++e) w[e] += bias[pair * heads + e];
    for (int64_t h = 0; h < heads; ++h) top[h] = w[h];
    for (int64_t j = 1; j < n; ++j)
      for (int64_t h = 0; h < heads; ++h) top[h] = std::max(top[h], w[j * heads + h]);
    for (int64_t h = 0; h < heads; ++h) sum[h] = 0;
    for (int64_t j = 0; j < n; ++j)
      for (int64_t h = 0; h < heads; ++h) {
        const T e = exponential(w[j * heads + h] - top[h]);
        w[j * heads + h] = e;
        sum[h] += e;
      }
    for (int64_t h = 0; h < heads; ++h) sum[h] = T(1) / sum[h];
    std::fill(o, o + row, T(0));
    for (int64_t j = 0; j < n; ++j) {
      T* wj = w + j * heads;
      for (int64_t h = 0; h < heads; ++h) wj[h] *= sum[h];
      const T* use = wj;
      if (keep) {
        const T* factor = keep + (pair + j) * heads;
        for (int64_t h = 0; h < heads; ++h) kept[h] = wj[h] * factor[h];
        use = kept;
      }
      spread<T, H, W>(use, v + j * row, r, o);
    }
    unpack<T>(o, 1, r, T(1), out + (first + i) * row, row);
  }
}

template <class T, int H, int W>
void backward(const Ragged& r, int64_t g, const T* qkv, const T* keep, const T* weights,
              const T* grad_out, T* grad_qkv, T* grad_bias) {
  const int64_t heads = H ? H : r.heads, row = r.row();
  const int64_t first = r.node_offsets[g], n = r.node_offsets[g + 1] - first;
  const T scale = T(1.0 / std::sqrt(double(r.width)));
  std::vector<T> room(size_t((4 * n + 3) * row + 2 * heads));
  T *k = room.data(), *v = k + n * row, *dk = v + n * row, *dv = dk + n * row;
  T *q = dv + n * row, *dq = q + row, *dout = dq + row, *mean = dout + row, *kept = mean + heads;
  pack<T>(qkv + first * 3 * row + row, 3 * row, n, r, T(1), k);
  pack<T>(qkv + first * 3 * row + 2 * row, 3 * row, n, r, T(1), v);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t pair = r.pair_offsets[g] + i * n;
    const T* w = weights + pair * heads;
    const T* factor = keep ? keep + pair * heads : nullptr;
    T* ds = grad_bias + pair * heads;
    pack<T>(qkv + (first + i) * 3 * row, 3 * row, 1, r, scale, q);
    pack<T>(grad_out + (first + i) * row, row, 1, r, T(1), dout);
    std::fill(mean, mean + heads, T(0));
    for (int64_t j = 0; j < n; ++j) {
      T* dw = ds + j * heads;
      dots<T, H, W>(dout, v + j * row, r, dw);
      for (int64_t h = 0; h < heads; ++h) {
        if (factor) dw[h] *= factor[j * heads + h];
        mean[h] += w[j * heads + h] * dw[h];
      }
    }
    std::fill(dq, dq + row, T(0));
    for (int64_t j = 0; j < n; ++j) {
      T* dsj = ds + j * heads;
      const T* wj = w + j * heads;
      for (int64_t h = 0; h < heads; ++h) {
        dsj[h] = wj[h] * (dsj[h] - mean[h]);
        kept[h] = factor ? wj[h] * factor[j * heads + h] : wj[h];
      }
      spread<T, H, W>(dsj, k + j * row, r, dq);
      spread<T, H, W>(dsj, q, r, dk + j * row);
      spread<T, H, W>(kept, dout, r, dv + j * row);
    }
    unpack<T>(dq, 1, r, scale, grad_qkv + (first + i) * 3 * row, 3 * row);
  }
  unpack<T>(dk, n, r, T(1), grad_qkv + first * 3 * row + row, 3 * row);
  unpack<T>(dv, n, r, T(1), grad_qkv + first * 3 * row + 2 * row, 3 * row);
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_RAGGED                                                                       \
  const int64_t *node_offsets, const int64_t *pair_offsets, int64_t graphs, int64_t heads,      \
      int64_t width, int64_t threads
#define DIFFRENDER_BY_HEADS(CALL, T, ...)                     \
  const Ragged r{node_offsets, pair_offsets, graphs, heads, width}; \
  parallel_with_torch(threads, graphs, [&](int64_t g) {       \
    if (heads == 32 && width == 8) return CALL<T, 32, 8>(r, g, __VA_ARGS__); \
    if (heads == 8 && width == 8) return CALL<T, 8, 8>(r, g, __VA_ARGS__);   \
    return CALL<T, 0, 0>(r, g, __VA_ARGS__);                  \
  });                                                         \
  return kDone;
#define DIFFRENDER_ATTENTION(NAME, T)                                                          \
  DIFFRENDER_API int64_t diffrender_ragged_attention_##NAME(                                   \
      DIFFRENDER_RAGGED, const T* qkv, const T* bias, const T* keep, T* out, T* weights) {     \
    using namespace diffrender;                                                                \
    return guarded([&]() -> int64_t { DIFFRENDER_BY_HEADS(forward, T, qkv, bias, keep, out, weights) }); \
  }                                                                                            \
  DIFFRENDER_API int64_t diffrender_ragged_attention_backward_##NAME(                          \
      DIFFRENDER_RAGGED, const T* qkv, const T* keep, const T* weights, const T* grad_out,     \
      T* grad_qkv, T* grad_bias) {                                                             \
    using namespace diffrender;                                                                \
    return guarded([&]() -> int64_t {                                                          \
      DIFFRENDER_BY_HEADS(backward, T, qkv, keep, weights, grad_out, grad_qkv, grad_bias)      \
    });                                                                                        \
  }

DIFFRENDER_ATTENTION(f32, float)
DIFFRENDER_ATTENTION(f64, double)
