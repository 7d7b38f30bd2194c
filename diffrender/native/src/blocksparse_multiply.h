// The block-sparse product y = W x, or y = W^T x, of many columns.
//
// Columns are cut into groups, a group into panels. A task takes one group and a range of block
// rows: it packs x (blocksparse_panels.h), then walks through the rows in chunks, x in bands, so that
// sums and panel stay in cache where blocks are small, and adds up tiles (blocksparse_tile.h).
// Block rows without blocks are zero. A NaN or infinity of x reaches only the rows whose stored
// blocks meet it. Torch twin: diffrender/blocksparse/torch_products.py.
//
// T is the type of storage, W that of the operands: as the sums (float, double), or pairs of
// bfloat16 that the processor multiplies two at a time (blocksparse_bfloat16.cpp). What follows
// counts a pair as one.
#pragma once

#include "blocksparse_panels.h"
#include "blocksparse_tile.h"

namespace diffrender {
namespace {

template <class C, class W>
struct TiledPanel : Panel {
  Tile<C, W> tile;
};

template <class C, class W>
Tile<C, W> choose_tile(int vectors, const Product& p) {
  const int64_t steps = p.in_size / kTogether<W>;
  const bool t = p.transposed != 0;
  if constexpr (kTogether<W> == 1) {
    if (p.out_size == 1) {
      switch (vectors) {
        case 1: return tile_of<C, W, 1, 1>(steps, t);
        case 2: return tile_of<C, W, 1, 2>(steps, t);
        case 4: return tile_of<C, W, 1, 4>(steps, t);
        case 8: return tile_of<C, W, 1, 8>(steps, t);
        default: return tile_of<C, W, 1, 12>(steps, t);
      }
    }
  }
  switch (vectors) {
    case 1: return tile_of<C, W, 4, 1>(steps, t);
    case 2: return tile_of<C, W, 4, 2>(steps, t);
    default: return tile_of<C, W, 4, 3>(steps, t);
  }
}

// Width of the next panel where `left` vectors are left. Tall tiles avoid panels of one vector.
inline int next_width(int64_t left, int64_t most, bool tall) {
  if (tall) return int(left == 4 ? 2 : std::min<int64_t>(left, 3));
  for (int wide : {12, 8, 4, 2})
    if (left >= wide && most >= wide) return wide;
  return 1;
}

template <class T, class W = typename Sum<T>::type>
class Multiply {
  typedef typename Sum<T>::type C;
  static constexpr int N = Lanes<C>::N;
  static constexpr int64_t K = kTogether<W>;
  static_assert(sizeof(W) == sizeof(C), "a vector of operands makes a vector of sums");

 public:
  Multiply(const Product& product, const W* values, const T* x, T* y)
      : p_(product), values_(values), x_(x), y_(y) {}

  void run() {
    deal_columns(p_, [&](int64_t batch, int64_t begin, int64_t part) { work(batch, begin, part); });
  }

 private:
  void work(int64_t batch, int64_t begin, int64_t part) const {
    const int64_t end = std::min(begin + p_.group, p_.n);
    const int64_t row = cut(p_.offsets, p_.out_blocks, p_.parts, part);
    const int64_t last = cut(p_.offsets, p_.out_blocks, p_.parts, part + 1);
    if (row == last) return;
    std::vector<TiledPanel<C, W>> panels;
    int64_t left = (end - begin + N - 1) / N, width = 0;
    for (int64_t c = begin; left > 0;) {
      const int wide = next_width(left, p_.vectors, p_.out_size > 1);
      panels.push_back(
          {{c, std::min<int64_t>(wide * N, end - c), width, wide}, choose_tile<C, W>(wide, p_)});
      width += wide * N;
      left -= wide;
      c += wide * N;
    }
    const int64_t inner = p_.inner() / K, chunk = std::min(p_.chunk, last - row);
    const int64_t packed = inner * width, sums = chunk * p_.out_size * width;
    C* memory = static_cast<C*>(scratch().take((packed + sums) * int64_t(sizeof(C))));
    W* operands = reinterpret_cast<W*>(memory);
    pack_panels<C, W>(p_, x_, batch, panels, operands);
    for (int64_t i = row; i < last; i += chunk)
      add_chunk(batch, i, std::min(i + chunk, last), panels, operands, memory + packed);
    finish_streams();
    scratch().trim();
  }

  // Block rows [row, last) of all panels, band by band.
  void add_chunk(int64_t batch, int64_t row, int64_t last, const std::vector<TiledPanel<C, W>>& panels,
                 const W* packed, C* sums) const {
    const int64_t size = p_.out_size, rows = last - row;
    for (int64_t band = 0; band < p_.bands; ++band) {
      for (const TiledPanel<C, W>& panel : panels) {
        const int64_t width = panel.vectors * N;
        const bool direct = p_.bands == 1 && writes_through(panel), stream = direct && streams_past<T>(p_, y_);
        C* place = sums + rows * size * panel.offset;
        int64_t stride = width;
        if (direct) {
          // T is C here: sums are taken in y itself.
          place = reinterpret_cast<C*>(y_) + (batch * p_.outer() + row * size) * p_.n + panel.begin;
          stride = p_.n;
        }
        const W* x = packed + p_.inner() / K * panel.offset;
        for (int64_t i = row; i < last; ++i) {
          const int64_t begin = p_.begin(i, band), end = p_.begin(i, band + 1);
          if (begin == end && band > 0) continue;
          add_row(begin, end, panel, x, place + (i - row) * size * stride, stride, band == 0,
                  stream);
        }
      }
    }
    for (const TiledPanel<C, W>& panel : panels) {
      if (p_.bands == 1 && writes_through(panel)) continue;
      write_panels<C>(p_, y_, batch, row * size, rows * size, &panel, 1,
                      sums + rows * size * panel.offset, 0);
    }
  }

  // Blocks [begin, end) of one block row. The tiles of a tall block read the same part of x, so
  // they take turns over as many blocks as the nearest cache holds.
  void add_row(int64_t begin, int64_t end, const TiledPanel<C, W>& panel, const W* x, C* place,
               int64_t stride, bool fresh, bool stream) const {
    if (begin == end) {
      for (int64_t r = 0; r < p_.out_size; ++r)
        std::memset(place + r * stride, 0, size_t(panel.vectors * N) * sizeof(C));
      return;
    }
    const int64_t window = p_.out_size > 4 ? p_.window : end - begin;
    for (int64_t e = begin; e < end; e += window) {
      const Run<W> run{p_.transposed ? values_ : values_ + e * p_.block() / K,
                       p_.indices + e,
                       p_.transposed ? p_.order + e : nullptr,
                       std::min(window, end - e),
                       p_.out_size,
                       p_.in_size / K,
                       fresh,
                       p_.bands == 1,
                       stream && end - begin <= window};
      panel.tile(run, x, place, stride);
      fresh = false;
    }
  }

  bool writes_through(const TiledPanel<C, W>& panel) const {
    return std::is_same<T, C>::value && !p_.features_last && panel.count == panel.vectors * N;
  }

  const Product& p_;
  const W* values_;
  const T* x_;
  T* y_;
};

// Values, as numbers or as they are stored, in the order in which the product lists its blocks and
// each turned around, so that a transposed product becomes a plain one.
template <class T, class C>
void turn_values(const Product& p, const T* stored, C* turned) {
  constexpr int64_t kBlocks = 4096;
  const int64_t nnz = p.nnz(), out = p.out_size, in = p.in_size, block = p.block();
  const auto put_number = [](C& to, const T& from) {
    if constexpr (std::is_same<T, C>::value)
      to = from;
    else
      to = C(number(from));
  };
  parallel_with_torch(p.threads, (nnz + kBlocks - 1) / kBlocks, [&](int64_t task) {
    const int64_t first = task * kBlocks, last = std::min(nnz, first + kBlocks);
    if (block == 1) {
      for (int64_t e = first; e < last; ++e) put_number(turned[e], stored[p.order[e]]);
      return;
    }
    for (int64_t e = first; e < last; ++e) {
      const T* from = stored + p.order[e] * block;
      C* to = turned + e * block;
      if constexpr (std::is_same<T, C>::value && std::is_floating_point<C>::value) {
        if (out == 4 && in == 4) {
          typename Four<C>::V square[4];
          std::memcpy(square, from, sizeof square);
          transpose4<C>(square);
          std::memcpy(to, square, sizeof square);
          continue;
        }
      }
      for (int64_t r = 0; r < out; ++r)
        for (int64_t j = 0; j < in; ++j) put_number(to[r * in + j], from[j * out + r]);
    }
  });
}

template <class T, class W = typename Sum<T>::type>
int64_t multiply(const Product& product, const void* values, const void* x, void* y) {
  constexpr bool kPairs = kTogether<W> > 1;
  typedef typename std::conditional<kPairs, T, W>::type Number;  // pairs lie as they are stored
  const T* stored = static_cast<const T*>(values);
  large_pages(y, product.batch * product.n * product.outer() * int64_t(sizeof(T)));
  const int64_t count = product.nnz() * product.block();
  // Small blocks are too short to be read in another order again and again, and pairs lie along it.
  const bool turn = product.transposed && (kPairs || product.block() <= 16);
  Product plain = product;
  const Number* numbers = nullptr;
  if (turn) {
    Number* turned = static_cast<Number*>(scratch(true).take(count * int64_t(sizeof(Number))));
    turn_values(product, stored, turned);
    numbers = turned;
    plain.transposed = 0;
    plain.order = nullptr;
  } else if constexpr (std::is_same<T, Number>::value) {
    numbers = stored;
  } else {
    Number* wide = static_cast<Number*>(scratch(true).take(count * int64_t(sizeof(Number))));
    parallel_with_torch(product.threads, (count + 65535) / 65536, [&](int64_t task) {
      const int64_t first = task * 65536;
      widen_all(stored + first, std::min<int64_t>(65536, count - first), wide + first);
    });
    numbers = wide;
  }
  Multiply<T, W>(plain, reinterpret_cast<const W*>(numbers), static_cast<const T*>(x),
                 static_cast<T*>(y))
      .run();
  scratch(true).trim();
  return kDone;
}

}  // namespace
}  // namespace diffrender
