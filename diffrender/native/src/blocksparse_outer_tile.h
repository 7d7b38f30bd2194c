// Register tiles of the values' gradient: a block as a sum of outer products over packed columns,
//
// sums[r, q] += sum over columns c:  dy[c, r] x[c, q]
//
// and, for blocks with a side of 1, sums of dot products.
#pragma once

#include "blocksparse.h"

namespace diffrender {

// (dy, x, columns, rows of dy's block, columns of x's block, sums, fresh): sums (rows, columns).
template <class C>
using Outer = void (*)(const C*, const C*, int64_t, int64_t, int64_t, C*, bool);

// R rows by V vectors of `Bytes`.
template <class C, int Bytes, int R, int V>
void outer(const C* dy, const C* x, int64_t count, int64_t rows, int64_t columns, C* sums,
           bool fresh) {
  typedef C Vector __attribute__((vector_size(Bytes)));
  constexpr int N = Bytes / int(sizeof(C));
  for (int64_t r0 = 0; r0 < rows; r0 += R) {
    for (int64_t q0 = 0; q0 < columns; q0 += V * N) {
      Vector sum[R][V];
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sum[r][v] = Vector{};
      const C* left = dy + r0;
      const C* right = x + q0;
      for (int64_t c = 0; c < count; ++c, left += rows, right += columns) {
        Vector in[V];
        for (int v = 0; v < V; ++v) std::memcpy(&in[v], right + v * N, Bytes);
        for (int r = 0; r < R; ++r) {
          const Vector weight = left[r] - Vector{};
          for (int v = 0; v < V; ++v) sum[r][v] += weight * in[v];
        }
      }
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
          C* to = sums + (r0 + r) * columns + q0 + v * N;
          Vector before{};
          if (!fresh) std::memcpy(&before, to, Bytes);
          before += sum[r][v];
          std::memcpy(to, &before, Bytes);
        }
      }
    }
  }
}

#if defined(__AVX2__)
// A block of 4 x 4: a register holds two columns, the two halves are added at the end.
inline void outer_4x4(const float* dy, const float* x, int64_t count, int64_t, int64_t, float* sums,
               bool fresh) {
  typedef float Eight __attribute__((vector_size(32)));
  Eight sum[2][4] = {};
  int64_t c = 0;
  for (; c + 4 <= count; c += 4) {
    for (int u = 0; u < 2; ++u) {
      Eight left, right;
      std::memcpy(&left, dy + 4 * (c + 2 * u), sizeof left);
      std::memcpy(&right, x + 4 * (c + 2 * u), sizeof right);
#define DIFFRENDER_SPREAD(r)                                                             \
  DIFFRENDER_SHUFFLE_8(left, r, r, r, r, r + 4, r + 4, r + 4, r + 4)
#if defined(__clang__) || __GNUC__ >= 12
#define DIFFRENDER_SHUFFLE_8(a, ...) __builtin_shufflevector(a, a, __VA_ARGS__)
#else
#define DIFFRENDER_SHUFFLE_8(a, ...) \
  __builtin_shuffle(a, (int32_t __attribute__((vector_size(32)))){__VA_ARGS__})
#endif
      sum[u][0] += DIFFRENDER_SPREAD(0) * right;
      sum[u][1] += DIFFRENDER_SPREAD(1) * right;
      sum[u][2] += DIFFRENDER_SPREAD(2) * right;
      sum[u][3] += DIFFRENDER_SPREAD(3) * right;
    }
  }
  for (int r = 0; r < 4; ++r) {
    const Eight both = sum[0][r] + sum[1][r];
    for (int q = 0; q < 4; ++q) {
      float total = both[q] + both[q + 4];
      for (int64_t rest = c; rest < count; ++rest) total += dy[4 * rest + r] * x[4 * rest + q];
      float& to = sums[4 * r + q];
      to = fresh ? total : to + total;
    }
  }
}
#endif

template <class C>
Outer<C> choose_outer(int64_t rows, int64_t columns) {
#if defined(__AVX2__)
  if constexpr (std::is_same<C, float>::value) {
    if (rows == 4 && columns == 4) return outer_4x4;
  }
#endif
  constexpr int most = kLaneBytes;
  const int64_t bytes = columns * int64_t(sizeof(C));
  if (bytes >= 2 * most) return outer<C, most, 4, 2>;
  if (bytes == most) return rows % 8 ? outer<C, most, 4, 1> : outer<C, most, 8, 1>;
  // Narrower than a register: 16 bytes (4 floats), or 32 where a register has 64.
  if (bytes == 32) return outer<C, most < 32 ? most : 32, 4, 1>;
  return outer<C, 16, 4, 1>;
}

// Four dot products of N-lane sums at once.
template <class C>
inline typename Four<C>::V add_up(const typename Lanes<C>::V sum[4]) {
  typedef typename Four<C>::V V;
  constexpr int pieces = Lanes<C>::N / 4;
  V row[4];
  if constexpr (pieces >= 1) {
    for (int i = 0; i < 4; ++i) {
      V piece[pieces];
      std::memcpy(piece, &sum[i], sizeof piece);
      row[i] = piece[0];
      for (int p = 1; p < pieces; ++p) row[i] += piece[p];
    }
    transpose4<C>(row);
    return (row[0] + row[1]) + (row[2] + row[3]);
  } else {
    V out;
    for (int i = 0; i < 4; ++i) out[i] = sum[i][0] + sum[i][1];
    return out;
  }
}

}  // namespace diffrender
