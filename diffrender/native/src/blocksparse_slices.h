// How the gradient of the values is dealt out where dy and x are packed first.
//
// Few threads each pack for themselves: the rows of dy that they need, and all of x. A line that one
// core has written and another has read is slow to be written again at the next call, up to twenty
// nanoseconds where the two share no cache, which is more than packing it. Many threads pack both
// together, then share them. Either way every value is summed by one thread, columns in order.
#pragma once

#include "blocksparse.h"

namespace diffrender {

constexpr int64_t kFewThreads = 4;

// Block rows [first, last) of dy, and all of x, of some columns.
template <class W>
struct Packed {
  W* dy;
  W* x;
  int64_t first, last;
};

// For every batch and chunk of columns, in order: packs, then adds.
//
// `padded`: numbers of type W that a row of a chunk takes.
// pack(from, length, size, begin, end, column, count, threads, to): rows [begin, end), in blocks of
// `size`, of one batch of dy or x, which has `length` rows.
// add(row, last, packed, count, fresh): the blocks of block rows [row, last).
template <class W, class T, class Pack, class Add>
void deal_out(const Product& p, const T* dy, const T* x, int64_t chunk, int64_t padded, Pack pack,
              Add add) {
  const auto each_chunk = [&](auto work) {
    for (int64_t batch = 0; batch < p.batch; ++batch)
      for (int64_t c = 0; c < p.n; c += chunk)
        work(batch, c, std::min(chunk, p.n - c), batch == 0 && c == 0);
  };
  const auto take = [&](bool shared, int64_t first, int64_t last) {
    const int64_t rows = (last - first) * p.out_size;
    W* memory = static_cast<W*>(
        scratch(shared).take((rows + p.inner()) * padded * int64_t(sizeof(W))));
    return Packed<W>{memory, memory + rows * padded, first, last};
  };
  const auto fill = [&](const Packed<W>& packed, int64_t batch, int64_t c, int64_t count,
                        int64_t threads) {
    pack(dy + batch * p.outer() * p.n, p.outer(), p.out_size, packed.first, packed.last, c, count,
         threads, packed.dy);
    pack(x + batch * p.inner() * p.n, p.inner(), p.in_size, int64_t(0), p.in_blocks, c, count,
         threads, packed.x);
  };
  const bool few = p.threads <= kFewThreads;
  const int64_t parts = few ? p.threads : p.parts;
  const auto begin = [&](int64_t part) { return cut(p.offsets, p.out_blocks, parts, part); };
  if (few) {
    parallel_with_torch(p.threads, parts, [&](int64_t part) {
      const int64_t row = begin(part), last = begin(part + 1);
      if (p.offsets[row] == p.offsets[last]) return;
      const Packed<W> packed = take(false, row, last);
      each_chunk([&](int64_t batch, int64_t c, int64_t count, bool fresh) {
        fill(packed, batch, c, count, 1);
        add(row, last, packed, count, fresh);
      });
      scratch(false).trim();
    });
    return;
  }
  const Packed<W> packed = take(true, 0, p.out_blocks);
  each_chunk([&](int64_t batch, int64_t c, int64_t count, bool fresh) {
    fill(packed, batch, c, count, p.threads);
    parallel_with_torch(p.threads, parts, [&](int64_t part) {
      add(begin(part), begin(part + 1), packed, count, fresh);
    });
  });
}

}  // namespace diffrender
