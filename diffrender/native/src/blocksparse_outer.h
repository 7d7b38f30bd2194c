// The gradient of the values: products of dy and x at the stored blocks alone (SDDMM).
//
// dw_e[r, q] = sum over batch and columns c:  dy[out_size i(e) + r, c] x[in_size j(e) + q, c]
//
// Columns are taken in chunks, in order. Blocks with both sides of 4 and more: dy and x are packed
// as (block, column, side), so that a block is a sum of outer products of two contiguous streams,
// 4 rows by 3 vectors in registers: vectors of all blocks of a row, side by side. Blocks with a side
// of 1: rows are packed in panels and every entry is a dot product along the columns, four entries
// at a time, x band by band as in blocksparse_multiply.h. Each value is summed by one task in a
// fixed order, whatever the threads. Torch twin: diffrender/blocksparse/torch_products.py.
//
// T is the type of storage, W that of the operands: as the sums, or pairs of bfloat16 of neighbouring
// columns (blocksparse_bfloat16.cpp), for blocks alone; a pair of columns then counts as one.
#pragma once

#include <iterator>

#include "blocksparse_dots.h"
#include "blocksparse_outer_tile.h"
#include "blocksparse_pack.h"
#include "blocksparse_slices.h"

namespace diffrender {
namespace {

template <class T, class W = typename Sum<T>::type>
class Gradient {
  typedef typename Sum<T>::type C;
  static constexpr int N = Lanes<C>::N;
  static constexpr int64_t K = kTogether<W>;

 public:
  Gradient(const Product& product, const T* dy, const T* x, C* sums)
      : p_(product), dy_(dy), x_(x), sums_(sums) {}

  void run() {
    const bool dots = K == 1 && (p_.out_size == 1 || p_.in_size == 1);
    const int64_t chunk = std::min<int64_t>(p_.group, p_.n);
    const int64_t padded = (chunk + width_ - 1) / width_ * width_;
    deal_out<W>(
        p_, dy_, x_, chunk, padded / K, sums_,
        [&](const T* from, int64_t length, int64_t size, int64_t begin, int64_t end, int64_t c,
            int64_t count, int64_t threads, W* to) {
          if (!dots) {
            pack_blocks(from, length, size, begin, end, c, count / K, threads, to);
          } else if constexpr (K == 1) {
            pack_panels(from, length, begin * size, end * size, c, count, threads, to);
          }
        },
        [&](int64_t row, int64_t last, const Packed<W>& packed, int64_t count, C* sums, bool fresh) {
          if (!dots) {
            add_blocks(row, last, packed, count / K, sums, fresh);
          } else if constexpr (K == 1) {
            add_dots(row, last, packed, count, sums, fresh);
          }
        });
  }

 private:
  // (block, column, side) of blocks [first, last) and `count` columns, or pairs of columns, from
  // `column` on; all blocks together are `length` rows.
  void pack_blocks(const T* from, int64_t length, int64_t size, int64_t first, int64_t last,
                   int64_t column, int64_t count, int64_t threads, W* to) const {
    // Pairs lie side by side in rows of columns: they are turned around like any number.
    typedef typename std::conditional<K == 1, T, W>::type Stored;
    constexpr int64_t some = 16;
    parallel_with_torch(threads, (last - first + some - 1) / some, [&](int64_t task) {
      const int64_t begin = first + task * some, end = std::min(last, begin + some);
      W* const place = to + task * some * count * size;
      if (p_.features_last) {
        // Narrow blocks are short pieces: the compiler knows how short.
        const auto pack_pieces = [&](auto known) {
          const int64_t side = known ? int64_t(known) : size;
          for (int64_t c = 0; c < count; ++c)
            for (int64_t b = begin; b < end; ++b) {
              const T* row = from + (column + c * K) * length + b * side;
              W* piece = place + ((b - begin) * count + c) * side;
              if constexpr (K == 1)
                pack_row(row, side, side, piece);
              else
                pack_pairs(row, length, side, side, piece);
            }
        };
        switch (size) {
          case 4: pack_pieces(std::integral_constant<int, 4>()); break;
          case 8: pack_pieces(std::integral_constant<int, 8>()); break;
          case 16: pack_pieces(std::integral_constant<int, 16>()); break;
          default: pack_pieces(std::integral_constant<int, 0>());
        }
      } else {
        for (int64_t b = begin; b < end; ++b)
          pack_transposed(reinterpret_cast<const Stored*>(from + b * size * p_.n + column),
                          p_.n / K, size, count, place + (b - begin) * count * size, size);
      }
    });
  }

  // (panel, row, width_) of rows [first, last) of `length`, columns beyond the last are zero.
  void pack_panels(const T* from, int64_t length, int64_t first, int64_t last, int64_t column,
                   int64_t count, int64_t threads, W* to) const {
    constexpr int64_t some = 128;
    const int64_t panels = (count + width_ - 1) / width_;
    parallel_with_torch(threads, (last - first + some - 1) / some, [&](int64_t task) {
      const int64_t begin = first + task * some, end = std::min(last, begin + some);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t c = column + panel * width_;
        const int64_t here = std::min(width_, column + count - c);
        C* out = to + (panel * (last - first) + begin - first) * width_;
        if (p_.features_last) {
          pack_transposed(from + c * length + begin, length, here, end - begin, out, width_);
          for (int64_t r = 0; here < width_ && r < end - begin; ++r)
            std::memset(out + r * width_ + here, 0, size_t(width_ - here) * sizeof(C));
        } else {
          for (int64_t r = begin; r < end; ++r)
            pack_row(from + r * p_.n + c, here, width_, out + (r - begin) * width_);
        }
      }
    });
  }

  void add_blocks(int64_t row, int64_t last, const Packed<W>& packed, int64_t count, C* sums,
                  bool fresh) const {
    // As many columns at a time as stay in the nearest cache with the blocks of one row.
    const int64_t piece = std::max(p_.out_size, p_.in_size) < 16 ? count : 128;
    for (int64_t i = row; i < last; ++i)
      for (int64_t c = 0; c < count; c += piece)
        add_row(i, packed, c, std::min(piece, count - c), count, sums, fresh && c == 0);
  }

  // Columns [c, c + some) of the `count` that are packed, for the blocks of row i.
  void add_row(int64_t i, const Packed<W>& packed, int64_t c, int64_t some, int64_t count, C* all,
               bool fresh) const {
    const int64_t rows = p_.out_size, columns = p_.in_size;
    const int64_t each = columns < N ? N / columns : 1;  // pieces of x in a vector
    const int64_t pieces = columns < N ? 1 : columns / N;  // of a block
    const W* dy = packed.dy + ((i - packed.first) * count + c) * rows;
    const W* x[kBeside];
    C* sums[kBeside];
    int64_t held = 0;
    for (int64_t e = p_.offsets[i]; e < p_.offsets[i + 1]; ++e) {
      for (int64_t q = 0; q < pieces; ++q) {
        x[held] = packed.x + (p_.indices[e] * count + c) * columns + q * N;
        sums[held++] = all + e * p_.block() + q * N;
        if (held == 3 * each) {
          beside_[2](dy, x, columns, some, rows, sums, fresh);
          held = 0;
        }
      }
    }
    C nowhere[K > 1 ? 64 * N : 1];  // what fills up a vector of pairs goes there
    if (K > 1 && held % each != 0) std::fill(std::begin(nowhere), std::end(nowhere), C(0));
    for (; K > 1 && held % each != 0; ++held) {
      x[held] = x[0];
      sums[held] = nowhere;
    }
    const int64_t vectors = held / each;
    if (vectors > 0) beside_[vectors - 1](dy, x, columns, some, rows, sums, fresh);
    if constexpr (K == 1)
      for (int64_t p = vectors * each; p < held; ++p)
        alone_(dy, x[p], some, rows, columns, sums[p], fresh);
  }

  void add_dots(int64_t row, int64_t last, const Packed<W>& packed, int64_t count, C* sums,
                bool fresh) const {
    const int64_t panels = (count + width_ - 1) / width_;
    const int64_t rows = (packed.last - packed.first) * p_.out_size;
    const auto add = p_.vectors == 2   ? add_narrow<C, 2 * N>
                     : p_.vectors == 4 ? add_narrow<C, 4 * N>
                                       : add_narrow<C, 8 * N>;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const C* left = packed.dy + panel * rows * width_;
      const C* right = packed.x + panel * p_.inner() * width_;
      for (int64_t band = 0; band < p_.bands; ++band) {
        for (int64_t i = row; i < last; ++i) {
          const int64_t begin = p_.begin(i, band), end = p_.begin(i, band + 1);
          if (begin == end) continue;
          const C* dy = left + (i - packed.first) * p_.out_size * width_;
          add(p_, begin, end, dy, right, width_, width_, sums, fresh && panel == 0);
        }
      }
    }
  }

  const Product& p_;
  const T* dy_;
  const T* x_;
  C* sums_;
  const int64_t width_ = p_.vectors * N;  // columns of a panel of rows
  const Beside<C, W> beside_[3] = {choose_beside<C, W>(p_.in_size, 1),
                                   choose_beside<C, W>(p_.in_size, 2),
                                   choose_beside<C, W>(p_.in_size, 3)};
  const Outer<C> alone_ = choose_outer<C>(p_.in_size);
};

// `How`: Gradient, or RowGradient of blocksparse_rows.h.
template <template <class, class> class How, class T, class W = typename Sum<T>::type>
int64_t gradient(const Product& p, const void* dy, const void* x, void* values) {
  typedef typename Sum<T>::type C;
  const int64_t count = p.nnz() * p.block();
  std::vector<C> wide(std::is_same<T, C>::value ? size_t(0) : size_t(count));
  C* sums = std::is_same<T, C>::value ? static_cast<C*>(values) : wide.data();
  if (p.n == 0 || p.batch == 0) {
    std::fill(sums, sums + count, C(0));
  } else {
    How<T, W>(p, static_cast<const T*>(dy), static_cast<const T*>(x), sums).run();
    scratch(true).trim();
  }
  if constexpr (!std::is_same<T, C>::value) {
    put_all(static_cast<T*>(values), count, sums);
  }
  return kDone;
}

}  // namespace
}  // namespace diffrender
