// The register tile of the block-sparse product, with x packed in panels.
//
// y[r, c] = sum over blocks e, over j:  w_e[r, j] x[in_size index(e) + j, c]
//
// R rows by V vectors of columns are summed in registers over a run of blocks of one block row:
// each step j loads V vectors of x and spreads R values of w. With R x V = 4 x 3 that is 7 loads
// for 12 multiply-adds on 16 registers. Blocks of one row (R = 1) take more vectors instead, so
// that index and value are spread over more work. A transposed block is the same block with the
// strides of r and j exchanged: no copy is made.
#pragma once

#include "blocksparse.h"

namespace diffrender {

// A run of blocks of one block row, and where their values are.
template <class C>
struct Run {
  const C* values;         // the first value of the first block of the pattern
  const int32_t* indices;  // of the run's first block
  const int32_t* order;    // place of the run's first block's values; null: they follow in order
  int64_t first, count;    // the run within the pattern's list
  int64_t out_size, in_size;
  int64_t row;             // first row of the tile within the block
  const C* next;           // like `values`, shifted to the rows of the next tile
  bool fetch;              // whether x has to come from a far cache
};

// (run, panel, sums, stride of the sums, fresh): adds to the sums unless `fresh`.
template <class C>
using Tile = void (*)(const Run<C>&, const C*, C*, int64_t, bool);

template <class C, int R, int V, int In, bool Transposed>
void tile(const Run<C>& run, const C* panel, C* sums, int64_t stride, bool fresh) {
  typedef typename Lanes<C>::V Vector;
  constexpr int N = Lanes<C>::N;
  constexpr int64_t width = V * N;
  constexpr int Step = In == 1 ? 1 : 4;
  constexpr int64_t Later = In == 0 ? 2 : In == 8 ? 3 : 4;
  const int64_t steps = In ? In : run.in_size;
  const int64_t block = run.out_size * steps;
  const int64_t across = Transposed ? 1 : steps;        // stride between rows of the tile
  const int64_t along = Transposed ? run.out_size : 1;  // stride between steps
  Vector sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = Vector{};
  if (!fresh) {
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) sum[r][v] = load_lanes<C>(sums + r * stride + v * N);
  } else if (R > 1) {
    // The place of the sums comes in while they are taken.
    for (int r = 0; r < R; ++r) {
      __builtin_prefetch(sums + r * stride, 1);
      __builtin_prefetch(sums + r * stride + V * N - 1, 1);
    }
  }
  const C* shifted = run.values + run.row * across;
  const int32_t* index = run.indices;
  int64_t e = 0;
  do {  // at least one block and one step: a loop that may be empty would spill the sums
    const C* w = shifted + (Transposed ? int64_t(run.order[e]) : run.first + e) * block;
    const C* x = panel + int64_t(index[e]) * (steps * width);
    // Values and inputs of a later block come in while this one is worked on; beyond the run's end
    // that is the beginning of the next tile's run.
    const int64_t over = e + Later - run.count;
    if (R > 1) {
      const int64_t later = over < 0 ? e + Later : std::min(over, run.count - 1);
      const C* next = (over < 0 ? shifted : run.next) +
                      (Transposed ? int64_t(run.order[later]) : run.first + later) * block;
      if (!Transposed) {
        // The tile's rows: whole lines of 64 bytes for blocks of 16 and more.
        constexpr int lines = In == 4 ? 1 : In == 8 ? R / 2 : R;
        for (int r = 0; r < lines; ++r) __builtin_prefetch(next + r * (R / lines) * across);
      } else if (run.row == 0) {
        prefetch_bytes(next, block * int64_t(sizeof(C)));
      }
    }
    const bool fetch = run.fetch && over < 0;
    const C* far = fetch ? panel + int64_t(index[e + Later]) * (steps * width) : panel;
    int64_t j = 0;
    do {
      if (fetch) {
        for (int b = 0; b < Step * V * kLaneBytes; b += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(far + j * width) + b);
      }
      for (int s = 0; s < Step; ++s) {
        Vector in[V];
        for (int v = 0; v < V; ++v) in[v] = load_lanes<C>(x + (j + s) * width + v * N);
        for (int r = 0; r < R; ++r) {
          const Vector weight = spread_lanes<C>(w[r * across + (j + s) * along]);
          for (int v = 0; v < V; ++v) sum[r][v] += weight * in[v];
        }
      }
      j += Step;
    } while (j < steps);
  } while (++e < run.count);
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store_lanes<C>(sums + r * stride + v * N, sum[r][v]);
}

template <class C, int R, int V, bool Transposed>
Tile<C> tile_of_depth(int64_t in_size) {
  switch (in_size) {
    case 1: return tile<C, R, V, 1, Transposed>;
    case 4: return tile<C, R, V, 4, Transposed>;
    case 8: return tile<C, R, V, 8, Transposed>;
    default: return tile<C, R, V, 0, Transposed>;
  }
}

// The tile for a panel of V vectors and blocks whose shared side is `in_size`.
template <class C, int R, int V>
Tile<C> tile_of(int64_t in_size, bool transposed) {
  return transposed ? tile_of_depth<C, R, V, true>(in_size)
                    : tile_of_depth<C, R, V, false>(in_size);
}

}  // namespace diffrender
