// How the gradient of the values is dealt out where dy and x are packed first.
//
// Columns are cut into slices where there are many of them and few values: a slice's sums are its own,
// and slices are added up in order at the end. How many there are hangs on sizes alone, so the threads
// change no bit.
//
// Few threads each pack for themselves: the rows of dy that they need, and all of x, of the slices that
// they take. A line that one core has written and another has read is slow to be written again at the
// next call, up to twenty nanoseconds where the two share no cache, which is more than packing it. Many
// threads pack both together, then share them. Either way every value of a slice is summed by one
// thread, columns in order.
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

// For every chunk of columns, in order: packs, then adds.
//
// `padded`: numbers of type W that a row of a chunk takes.
// `sums`: `p.nnz() * p.block()` of them, written whole but for block rows without blocks.
// pack(from, length, size, begin, end, column, count, threads, to): rows [begin, end), in blocks of
// `size`, of one batch of dy or x, which has `length` rows.
// add(row, last, packed, count, sums, fresh): the blocks of block rows [row, last).
template <class W, class T, class C, class Pack, class Add>
void deal_out(const Product& p, const T* dy, const T* x, int64_t chunk, int64_t padded, C* sums,
              Pack pack, Add add) {
  const int64_t values = p.nnz() * p.block(), chunks = (p.n + chunk - 1) / chunk;
  const bool few = p.threads <= kFewThreads;
  const auto numbers = [&](int64_t first, int64_t last) {
    return ((last - first) * p.out_size + p.inner()) * padded;
  };
  const auto packed_at = [&](void* memory, int64_t first, int64_t last) {
    W* const begin = static_cast<W*>(memory);
    return Packed<W>{begin, begin + (last - first) * p.out_size * padded, first, last};
  };
  const auto fill = [&](const Packed<W>& packed, int64_t batch, int64_t c, int64_t count,
                        int64_t threads) {
    pack(dy + batch * p.outer() * p.n, p.outer(), p.out_size, packed.first, packed.last, c, count,
         threads, packed.dy);
    pack(x + batch * p.inner() * p.n, p.inner(), p.in_size, int64_t(0), p.in_blocks, c, count,
         threads, packed.x);
  };
  const auto each_chunk = [&](int64_t slice, auto work) {
    const int64_t all = p.batch * chunks, first = slice * all / p.slices;
    for (int64_t q = first; q < (slice + 1) * all / p.slices; ++q) {
      const int64_t c = q % chunks * chunk;
      work(q / chunks, c, std::min(chunk, p.n - c), q == first);
    }
  };
  // The first slice's sums are the values' place, the others' come before what is packed.
  const int64_t spare = (p.slices - 1) * values * int64_t(sizeof(C)) + 63;
  const int64_t together = few ? 0 : numbers(0, p.out_blocks) * int64_t(sizeof(W));
  char* const lent = static_cast<char*>(scratch(true).take(spare / 64 * 64 + together));
  const auto sums_of = [&](int64_t slice) {
    return slice == 0 ? sums : reinterpret_cast<C*>(lent) + (slice - 1) * values;
  };
  const int64_t parts = few ? (p.threads + p.slices - 1) / p.slices : p.parts;
  const auto begin = [&](int64_t part) { return cut(p.offsets, p.out_blocks, parts, part); };
  if (few) {
    parallel_with_torch(p.threads, p.slices * parts, [&](int64_t task) {
      const int64_t slice = task / parts, row = begin(task % parts), last = begin(task % parts + 1);
      if (p.offsets[row] == p.offsets[last]) return;
      const Packed<W> packed =
          packed_at(scratch().take(numbers(row, last) * int64_t(sizeof(W))), row, last);
      each_chunk(slice, [&](int64_t batch, int64_t c, int64_t count, bool fresh) {
        fill(packed, batch, c, count, 1);
        add(row, last, packed, count, sums_of(slice), fresh);
      });
      scratch().trim();
    });
  } else {
    const Packed<W> packed = packed_at(lent + spare / 64 * 64, 0, p.out_blocks);
    for (int64_t slice = 0; slice < p.slices; ++slice)
      each_chunk(slice, [&](int64_t batch, int64_t c, int64_t count, bool fresh) {
        fill(packed, batch, c, count, p.threads);
        parallel_with_torch(p.threads, parts, [&](int64_t part) {
          add(begin(part), begin(part + 1), packed, count, sums_of(slice), fresh);
        });
      });
  }
  if (p.slices == 1) return;
  constexpr int64_t kSome = 16384;
  parallel_with_torch(p.threads, (values + kSome - 1) / kSome, [&](int64_t task) {
    for (int64_t slice = 1; slice < p.slices; ++slice)
      for (int64_t e = task * kSome; e < std::min(values, (task + 1) * kSome); ++e)
        sums[e] += sums_of(slice)[e];
  });
}

}  // namespace diffrender
