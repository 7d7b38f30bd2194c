// The product of single numbers (blocksparse_entries.h) for every type of storage, and how a
// pattern's numbers are arranged for it.

#include "blocksparse_entries.h"

namespace diffrender {
namespace {

// One band of one piece: its rows by how many numbers they have there, most first, R in a group.
class BandArrangement {
 public:
  BandArrangement(const Product& p, int64_t piece, int64_t band)
      : p_(p),
        piece_(piece),
        band_(band),
        in_step_(kGroupSums / p.vectors),
        row_(cut(p.offsets, p.out_blocks, p.pieces, piece)),
        rows_(cut(p.offsets, p.out_blocks, p.pieces, piece + 1) - row_) {}

  void write(BandStart* starts, RowGroup* groups, int32_t* places, uint16_t* steps) {
    int64_t entry = p_.offsets[row_];
    for (int64_t i = row_; i < row_ + rows_; ++i) entry += p_.begin(i, band_) - p_.offsets[i];
    // Room for all groups of the pieces before, each with one that is not full.
    const int64_t of_piece = (rows_ + in_step_ - 1) / in_step_;
    const int64_t first = p_.bands * (row_ / in_step_ + piece_) + band_ * of_piece;
    RowGroup* group = groups + first;
    const int64_t begin = entry;
    const std::vector<int32_t> order = sorted();
    for (int64_t i = 0; i < rows_; i += in_step_) {
      const int64_t count = std::min(in_step_, rows_ - i);
      const int64_t most = numbers(order[i]);
      if (most == 0 && band_ > 0) break;  // sums stay as they are
      const int64_t together = count == in_step_ ? numbers(order[i + count - 1]) : 0;
      RowGroup& made = *group++;
      made = RowGroup{};
      made.together = int32_t(together);
      for (int64_t r = 0; r < in_step_; ++r) {
        made.rows[r] = r < count ? order[i + r] : int32_t(rows_);
        made.rest[r] = r < count ? uint16_t(numbers(order[i + r]) - together) : uint16_t(0);
      }
      const auto put = [&](int64_t row, int64_t j) {
        const int64_t e = p_.begin(row_ + row, band_) + j;
        places[entry] = p_.order != nullptr ? p_.order[e] : int32_t(e);
        steps[entry++] = uint16_t((p_.indices[e] - band_ * band()) * row_bytes());
      };
      for (int64_t j = 0; j < together; ++j)
        for (int64_t r = 0; r < count; ++r) put(made.rows[r], j);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t j = 0; j < made.rest[r]; ++j) put(made.rows[r], together + j);
    }
    starts[piece_ * p_.bands + band_] = {int32_t(first), int32_t(group - groups), int32_t(begin)};
  }

 private:
  int64_t band() const { return (p_.in_blocks + p_.bands - 1) / p_.bands; }
  int64_t row_bytes() const { return p_.vectors * kLaneBytes; }
  int64_t numbers(int64_t row) const {
    return p_.begin(row_ + row, band_ + 1) - p_.begin(row_ + row, band_);
  }

  // Rows of the piece, counted and dealt out.
  std::vector<int32_t> sorted() const {
    std::vector<int32_t> ends(size_t(band() + 2), 0), order(static_cast<size_t>(rows_));
    for (int64_t i = 0; i < rows_; ++i) ++ends[size_t(band() - numbers(i) + 1)];
    for (size_t n = 1; n < ends.size(); ++n) ends[n] += ends[n - 1];
    for (int64_t i = 0; i < rows_; ++i)
      order[size_t(ends[size_t(band() - numbers(i))]++)] = int32_t(i);
    return order;
  }

  const Product& p_;
  const int64_t piece_, band_, in_step_, row_, rows_;
};

}  // namespace
}  // namespace diffrender

// starts: (pieces, bands, 3) int32; groups: (bands (rows / R + pieces), 8) int32, R = kGroupSums / V; places: (nnz) int32; steps: (nnz) uint16, to be given back in the product.
DIFFRENDER_API int64_t diffrender_blocksparse_arrange(const void* product, void* starts,
                                                      void* groups, void* places, void* steps) {
  using namespace diffrender;
  const Product& p = *static_cast<const Product*>(product);
  return guarded([&]() -> int64_t {
    parallel_with_torch(p.threads, p.pieces * p.bands, [&](int64_t task) {
      BandArrangement(p, task / p.bands, task % p.bands)
          .write(static_cast<BandStart*>(starts), static_cast<RowGroup*>(groups),
                 static_cast<int32_t*>(places), static_cast<uint16_t*>(steps));
    });
    return kDone;
  });
}

DIFFRENDER_API int64_t diffrender_blocksparse_entries(const void* product, const void* values,
                                                      const void* x, void* y) {
  using namespace diffrender;
  const Product& p = *static_cast<const Product*>(product);
  return guarded([&]() -> int64_t {
    switch (p.dtype) {
      case 0: return multiply_entries<float>(p, values, x, y);
      case 1: return multiply_entries<double>(p, values, x, y);
      case 2: return multiply_entries<BFloat16>(p, values, x, y);
      default: return multiply_entries<Float16>(p, values, x, y);
    }
  });
}
