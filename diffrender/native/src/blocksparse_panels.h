// A group of columns of x packed into panels side by side, and sums of panels brought to their place
// in y.
#pragma once

#include "blocksparse_pack.h"

namespace diffrender {

// Columns [begin, begin + count) of a group, `vectors` wide, packed at `offset` columns.
struct Panel {
  int64_t begin, count, offset;
  int vectors;
};

// work(batch, first column, part) for every group of columns and every part of the rows.
template <class Work>
void deal_columns(const Product& p, Work work) {
  const int64_t groups = (p.n + p.group - 1) / p.group;
  parallel_with_torch(p.threads, p.batch * groups * p.parts, [&](int64_t task) {
    work(task / (p.parts * groups), task / p.parts % groups * p.group, task % p.parts);
  });
}

// All rows of x in panels, one after another in memory.
template <class C, class W, class T, class SomePanel>
void pack_panels(const Product& p, const T* all, int64_t batch,
                 const std::vector<SomePanel>& panels, W* memory) {
  constexpr int64_t N = Lanes<C>::N, K = kTogether<W>;
  const int64_t inner = p.inner() / K;
  const T* x = all + batch * p.inner() * p.n;
  if (p.features_last) {
    // Pairs lie side by side there: they are turned around like any number.
    typedef typename std::conditional<K == 1, T, W>::type Stored;
    for (const SomePanel& panel : panels)
      pack_panel_transposed(reinterpret_cast<const Stored*>(x) + panel.begin * inner, inner,
                            panel.count, panel.vectors * N, memory + inner * panel.offset);
    return;
  }
  // Row by row through all panels: neighbouring columns come in one stream.
  constexpr int64_t kAhead = 6;
  const int64_t first = panels.front().begin;
  const int64_t bytes = (panels.back().begin + panels.back().count - first) * int64_t(sizeof(T));
  for (int64_t r = 0; r < inner; ++r) {
    const T* row = x + r * K * p.n;
    for (int64_t k = 0; k < K && r + kAhead < inner; ++k)
      prefetch_bytes(row + (kAhead * K + k) * p.n + first, bytes);
    for (const SomePanel& panel : panels) {
      const int64_t width = panel.vectors * N;
      W* to = memory + inner * panel.offset + r * width;
      if constexpr (K == 1)
        pack_row(row + panel.begin, panel.count, width, to);
      else
        pack_pairs(row + panel.begin, p.n, panel.count, width, to);
    }
  }
}

// Whether y is too large to be found in a cache by who reads it next, and its rows begin on lines
// of 64 bytes.
template <class T>
bool streams_past(const Product& p, const T* y) {
  constexpr int64_t kCached = 8 << 20;
  const int64_t row = (p.features_last ? p.outer() : p.n) * int64_t(sizeof(T));
  const bool lines = reinterpret_cast<uintptr_t>(y) % 64 == 0 && row % 64 == 0;
  return kStreams && lines && p.batch * p.n * p.outer() * int64_t(sizeof(T)) >= kCached;
}

constexpr int64_t kRowsAhead = 24;  // rows of y are far apart: they come in before they are written

inline void fetch_to_write(const void* place, int64_t bytes) {
  const char* const line = static_cast<const char*>(place);
  for (int64_t b = 0; b < bytes + 63; b += 64) __builtin_prefetch(line + std::min(b, bytes - 1), 1);
}

// Sums of `rows` rows of y from `row` on to their place: those of `count` neighbouring panels, `apart`
// numbers from each other, so that rows of y are written in long pieces.
template <class C, class T>
void write_panels(const Product& p, T* y, int64_t batch, int64_t row, int64_t rows,
                  const Panel* panels, int64_t count, const C* sums, int64_t apart) {
  const auto width = [](const Panel& panel) { return panel.vectors * int64_t(Lanes<C>::N); };
  const bool past = streams_past<T>(p, y);
  if (p.features_last) {
    const int64_t outer = p.outer();
    for (int64_t q = 0; q < count; ++q)
      unpack_transposed(sums + q * apart, width(panels[q]), rows, panels[q].count,
                        y + (batch * p.n + panels[q].begin) * outer + row, outer, past);
    return;
  }
  const bool stream = std::is_same<T, C>::value && past;
  const Panel& last = panels[count - 1];
  const int64_t bytes = (last.begin + last.count - panels[0].begin) * int64_t(sizeof(T));
  T* const to = y + (batch * p.outer() + row) * p.n;
  for (int64_t r = 0; r < rows; ++r) {
    if (!stream && r + kRowsAhead < rows)
      fetch_to_write(to + (r + kRowsAhead) * p.n + panels[0].begin, bytes);
    for (int64_t q = 0; q < count; ++q) {
      const int64_t stride = width(panels[q]);
      T* const place = to + r * p.n + panels[q].begin;
      const C* const from = sums + q * apart + r * stride;
      if constexpr (std::is_same<T, C>::value) {
        if (stream && panels[q].count == stride) {
          for (int64_t c = 0; c < stride; c += Lanes<C>::N)
            stream_lanes<C>(place + c, load_lanes<C>(from + c));
          continue;
        }
      }
      put_all(place, panels[q].count, from);
    }
  }
}

}  // namespace diffrender
