// The register tile of the block-sparse product, with x packed in panels.
//
// y[r, c] = sum over blocks e, over j:  w_e[r, j] x[in_size index(e) + j, c]
//
// R rows by V vectors of columns are summed in registers over a run of blocks of one block row:
// each step j loads V vectors of x and spreads R values of w. With R x V = 4 x 3 that is 7 loads
// for 12 multiply-adds on 16 registers. Blocks of one row (R = 1) take more vectors instead, so
// that index and value are spread over more work. A transposed block is the same block with the
// strides of r and j exchanged: no copy is made. Where the operands W are pairs of bfloat16, a step
// is two j, which one instruction multiplies and adds to a sum of type C.
#pragma once

#include "blocksparse.h"

namespace diffrender {

// A run of blocks of one block row, and where their values are.
template <class W>
struct Run {
  const W* values;         // of the run's first block; with `order`, of the pattern's first
  const int32_t* indices;  // of the run's first block
  const int32_t* order;    // place of the run's first block's values; null: they follow in order
  int64_t count;           // at least one
  int64_t out_size, in_size;
  bool fresh;              // sums begin at zero, else at what is there
  bool fetch;              // whether x has to come from a far cache
  bool stream;             // whether sums, whole lines of 64 bytes, are written past the caches
};

// (run, panel, sums, stride of the sums): all rows of the blocks.
template <class C, class W>
using Tile = void (*)(const Run<W>&, const W*, C*, int64_t);

template <class C, class W, int R, int V, int In, bool Transposed>
void tile(const Run<W>& run, const W* panel, C* sums, int64_t stride) {
  typedef typename Lanes<C>::V Vector;
  constexpr int N = Lanes<C>::N;
  constexpr int64_t width = V * N;
  constexpr int Step = In == 0 ? 4 : In;
  constexpr int64_t Later = In == 0 ? 2 : In == 8 ? 3 : 4;
  const int64_t steps = In ? In : run.in_size;
  const int64_t block = run.out_size * steps;
  const int64_t across = Transposed ? 1 : steps;        // stride between rows of the tile
  const int64_t along = Transposed ? run.out_size : 1;  // stride between steps
  const bool fresh = run.fresh;
  bool fetch = run.fetch;
  for (int64_t row = 0; row < run.out_size; row += R, sums += R * stride) {
    Vector sum[R][V];
    if (fresh) {
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) sum[r][v] = Vector{};
        // The place of the sums comes in while they are taken.
        if (run.stream) continue;
        __builtin_prefetch(sums + r * stride, 1);
        if (R > 1) __builtin_prefetch(sums + r * stride + V * N - 1, 1);
      }
    } else {
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sum[r][v] = load_lanes<C>(sums + r * stride + v * N);
    }
    const W* const first = run.values + row * across;
    const W* w = first;
    // Values and inputs of a later block come in while this one is worked on; beyond the run's end
    // that is the beginning of the next rows' run.
    const W* const stop = first + run.count * block;
    const W* later = first + Later * block;
    if (later >= stop) later += R * across - run.count * block;
    const int32_t* index = run.indices;
    const int32_t* const end = index + run.count;
    const int32_t* order = run.order;
    do {  // at least one block and one step: a loop that may be empty would spill the sums
      if (Transposed) w = first + int64_t(*order) * block;
      const W* x = panel + int64_t(*index) * (steps * width);
      const bool far = fetch && end - index > Later;
      const W* next = far ? panel + int64_t(index[Later]) * (steps * width) : x;
      if (R > 1 && !Transposed) {
        // The tile's rows: whole lines of 64 bytes for blocks of 16 and more.
        constexpr int lines = In == 2 || In == 4 ? 1 : In == 8 ? R / 2 : R;
        for (int r = 0; r < lines; ++r) __builtin_prefetch(later + r * (R / lines) * across);
        later += block;
        if (later == stop) later += R * across - run.count * block;
      } else if (R > 1 && row == 0 && end - index > Later) {
        prefetch_bytes(first + int64_t(order[Later]) * block, block * int64_t(sizeof(W)));
      }
      const W* value = w;
      const W* const last = w + steps * along;
      do {
        if (far) {
          for (int b = 0; b < Step * V * kLaneBytes; b += 64)
            __builtin_prefetch(reinterpret_cast<const char*>(next) + b);
          next += Step * width;
        }
#pragma GCC unroll 8
        for (int s = 0; s < Step; ++s) {
          typename Lanes<W>::V in[V];
          for (int v = 0; v < V; ++v) in[v] = load_lanes<W>(x + s * width + v * N);
          for (int r = 0; r < R; ++r) add_scaled<C, W, V>(sum[r], in, value[r * across + s * along]);
        }
        x += Step * width;
        value += Step * along;
      } while (value != last);
      if (Transposed) ++order;
      w += block;
    } while (++index != end);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) {
        C* const place = sums + r * stride + v * N;
        if (run.stream)
          stream_lanes<C>(place, sum[r][v]);
        else
          store_lanes<C>(place, sum[r][v]);
      }
    fetch = false;
  }
}

template <class C, class W, int R, int V, bool Transposed>
Tile<C, W> tile_of_depth(int64_t steps) {
  if constexpr (std::is_same<W, Pair>::value) {
    if (steps == 2) return tile<C, W, R, V, 2, Transposed>;
  } else {
    if (steps == 1) return tile<C, W, R, V, 1, Transposed>;
  }
  switch (steps) {
    case 4: return tile<C, W, R, V, 4, Transposed>;
    case 8: return tile<C, W, R, V, 8, Transposed>;
    default: return tile<C, W, R, V, 0, Transposed>;
  }
}

// The tile for a panel of V vectors and blocks whose shared side is `steps` operands.
template <class C, class W, int R, int V>
Tile<C, W> tile_of(int64_t steps, bool transposed) {
  if constexpr (!std::is_same<W, Pair>::value)
    if (transposed) return tile_of_depth<C, W, R, V, true>(steps);
  return tile_of_depth<C, W, R, V, false>(steps);
}

}  // namespace diffrender
