// The block-sparse product y = W x, or W^T x, of single numbers and many columns.
//
//   y[i, c] = sum over the stored k of row i, in order:  w[i, k] x[k, c]
//
// Every multiply-add reads its own line of x, and a row has few numbers in as much of x as a near
// cache holds: a loop over one row's numbers would be as often mispredicted as there are rows, and
// would wait for its own sums. So rows of a band of x are sorted by how many numbers they have
// there, and R rows of a group are summed in step, each with V vectors of columns: their loop ends
// where the group's shortest row does, which is nearly always where all do; the few numbers left
// over follow row by row. Numbers lie in the order in which they are used; where each comes from,
// and where its row of x begins in the band, is arranged once for a pattern. Sums stay in the second
// cache from band to band. A row's numbers are added in their own order whatever the arrangement.
// Torch twin: diffrender/blocksparse/torch_products.py.
#pragma once

#include "blocksparse_panels.h"

namespace diffrender {
namespace {

// Rows summed in step. Those beyond the piece's last are its row past the end, which nobody reads.
struct RowGroup {
  int32_t rows[4];   // from the first of the piece on
  int32_t together;  // numbers that every row has
  uint16_t rest[4];  // and those that follow, row by row
  int32_t unused;
};
static_assert(sizeof(RowGroup) == 32, "as diffrender/blocksparse/native_plans.py allocates them");

// Where the groups and numbers of a band in a piece begin.
struct BandStart {
  int32_t group, last_group, entry;
};

// Sums of a group, in vectors: as many as keep the arithmetic busy.
constexpr int kGroupSums = 8;

template <class C, int V>
void add_rest(const char* x, const C* values, const uint16_t* steps, int64_t count, C* sums) {
  constexpr int N = Lanes<C>::N;
  typename Lanes<C>::V sum[V];
  for (int v = 0; v < V; ++v) sum[v] = load_lanes<C>(sums + v * N);
  for (int64_t j = 0; j < count; ++j) {
    const C* from = reinterpret_cast<const C*>(x + steps[j]);
    const typename Lanes<C>::V w = spread_lanes<C>(values[j]);
    for (int v = 0; v < V; ++v) sum[v] += load_lanes<C>(from + v * N) * w;
  }
  for (int v = 0; v < V; ++v) store_lanes<C>(sums + v * N, sum[v]);
}

// One band of one piece: sums (rows of the piece + 1, V vectors).
template <class C, int V>
void add_band(const char* x, const C* values, const uint16_t* steps, const RowGroup* group,
              const RowGroup* const end, C* sums, bool fresh) {
  typedef typename Lanes<C>::V Vector;
  constexpr int N = Lanes<C>::N, R = kGroupSums / V;
  for (; group != end; ++group) {
    C* place[R];
    for (int r = 0; r < R; ++r) place[r] = sums + int64_t(group->rows[r]) * (V * N);
    // The next group's sums come in meanwhile: its rows lie anywhere.
    const RowGroup* next = group + 1 == end ? group : group + 1;
    for (int r = 0; r < R; ++r)
      prefetch_bytes(sums + int64_t(next->rows[r]) * (V * N), V * kLaneBytes);
    Vector sum[R][V];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) sum[r][v] = fresh ? Vector{} : load_lanes<C>(place[r] + v * N);
    for (const C* const last = values + group->together * R; values != last;
         values += R, steps += R) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const C* from = reinterpret_cast<const C*>(x + steps[r]);
        const Vector w = spread_lanes<C>(values[r]);
        for (int v = 0; v < V; ++v) sum[r][v] += load_lanes<C>(from + v * N) * w;
      }
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) store_lanes<C>(place[r] + v * N, sum[r][v]);
    for (int r = 0; r < R; ++r) {
      if (group->rest[r] == 0) continue;
      add_rest<C, V>(x, values, steps, group->rest[r], place[r]);
      values += group->rest[r];
      steps += group->rest[r];
    }
  }
}

template <class T, int V>
class EntryProduct {
  typedef typename Sum<T>::type C;
  static constexpr int64_t kWidth = V * Lanes<C>::N;
  static constexpr int kWritten = 8 / V;  // panels that are written together, in longer pieces

 public:
  EntryProduct(const Product& product, const C* values, const T* x, T* y)
      : p_(product),
        starts_(static_cast<const BandStart*>(product.starts)),
        groups_(static_cast<const RowGroup*>(product.groups)),
        values_(values),
        x_(x),
        y_(y) {}

  void run() {
    deal_columns(p_, [&](int64_t batch, int64_t begin, int64_t part) { work(batch, begin, part); });
  }

 private:
  int64_t first_row(int64_t piece) const { return cut(p_.offsets, p_.out_blocks, p_.pieces, piece); }

  void work(int64_t batch, int64_t begin, int64_t part) const {
    const int64_t end = std::min(begin + p_.group, p_.n), each = p_.pieces / p_.parts;
    const int64_t first = part * each, last = first + each;
    std::vector<Panel> panels;
    for (int64_t c = begin; c < end; c += kWidth)
      panels.push_back({c, std::min(kWidth, end - c), c - begin, V});
    int64_t most = 0;
    for (int64_t piece = first; piece < last; ++piece)
      most = std::max(most, first_row(piece + 1) - first_row(piece));
    if (most == 0) return;
    const int64_t packed = p_.inner() * kWidth * int64_t(panels.size()), sums = (most + 1) * kWidth;
    C* memory = static_cast<C*>(scratch().take((packed + kWritten * sums) * int64_t(sizeof(C))));
    pack_panels<C, C>(p_, x_, batch, panels, memory);
    for (size_t set = 0; set < panels.size(); set += kWritten) {
      const Panel* panel = &panels[set];
      const int64_t count = std::min<int64_t>(kWritten, int64_t(panels.size() - set));
      for (int64_t piece = first; piece < last; ++piece) {
        const int64_t row = first_row(piece), rows = first_row(piece + 1) - row;
        if (rows == 0) continue;
        for (int64_t q = 0; q < count; ++q)
          add_piece(piece, memory + p_.inner() * panel[q].offset, memory + packed + q * sums);
        write_panels<C>(p_, y_, batch, row, rows, panel, count, memory + packed, sums);
      }
    }
    finish_streams();
    scratch().trim();
  }

  void add_piece(int64_t piece, const C* x, C* sums) const {
    const int64_t band = (p_.in_blocks + p_.bands - 1) / p_.bands;
    for (int64_t b = 0; b < p_.bands; ++b) {
      const BandStart& start = starts_[piece * p_.bands + b];
      add_band<C, V>(reinterpret_cast<const char*>(x + b * band * kWidth), values_ + start.entry,
                     p_.steps + start.entry, groups_ + start.group, groups_ + start.last_group, sums,
                     b == 0);
    }
  }

  const Product& p_;
  const BandStart* starts_;
  const RowGroup* groups_;
  const C* values_;
  const T* x_;
  T* y_;
};

// The numbers in the order in which they are used.
template <class T, class C>
void arrange_values(const Product& p, const T* stored, C* values) {
  constexpr int64_t kEntries = 16384, kAhead = 96;  // rows come in any order: fetched long before
  const int64_t nnz = p.nnz();
  parallel_with_torch(p.threads, (nnz + kEntries - 1) / kEntries, [&](int64_t task) {
    const int64_t end = std::min(nnz, (task + 1) * kEntries);
    for (int64_t e = task * kEntries; e < end; ++e) {
      __builtin_prefetch(stored + p.places[std::min(e + kAhead, nnz - 1)]);
      values[e] = C(number(stored[p.places[e]]));
    }
  });
}

template <class T>
int64_t multiply_entries(const Product& p, const void* stored, const void* x, void* y) {
  typedef typename Sum<T>::type C;
  large_pages(y, p.batch * p.n * p.outer() * int64_t(sizeof(T)));
  C* values = static_cast<C*>(scratch(true).take(p.nnz() * int64_t(sizeof(C))));
  arrange_values(p, static_cast<const T*>(stored), values);
  const T* from = static_cast<const T*>(x);
  T* to = static_cast<T*>(y);
  if (p.vectors == 2)
    EntryProduct<T, 2>(p, values, from, to).run();
  else
    EntryProduct<T, 4>(p, values, from, to).run();
  scratch(true).trim();
  return kDone;
}

}  // namespace
}  // namespace diffrender
