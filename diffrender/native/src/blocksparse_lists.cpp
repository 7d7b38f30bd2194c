// The lists of a block pattern out of a mask, and where a mask's blocks were in the one before.
//
//   positions  rows and columns of a mask's true entries, row by row
//   sort       those blocks column by column, rows ascending (a counting sort, stable)
//   moves      for each new block its place among the old ones, or -1
//
// A mask of single numbers has millions of entries and may change at every step of a training, so
// none of this compares: it counts, or looks up in a table of one row. Rows are dealt to threads; what
// comes out is the same for any number of them. Twin: diffrender/blocksparse/_structure.py, numpy.

#include "blocksparse.h"

namespace diffrender {
namespace {

constexpr int64_t kRows = 64;  // that share a table

}  // namespace
}  // namespace diffrender

// mask (rows, columns) of bytes; ends: (rows + 1) int32, `ends[rows]` is how many are not 0.
DIFFRENDER_API int64_t diffrender_blocksparse_count(const void* mask, int64_t rows, int64_t columns,
                                                    int64_t threads, void* ends) {
  using namespace diffrender;
  const uint8_t* bytes = static_cast<const uint8_t*>(mask);
  int32_t* end = static_cast<int32_t*>(ends);
  return guarded([&]() -> int64_t {
    each_row(threads, rows, [&](int64_t r) {
      int32_t count = 0;
      for (int64_t c = 0; c < columns; ++c) count += bytes[r * columns + c] != 0;
      end[r + 1] = count;
    });
    end[0] = 0;
    for (int64_t r = 0; r < rows; ++r) end[r + 1] += end[r];
    return kDone;
  });
}

// found_rows, found_columns: (ends[rows]) int32.
DIFFRENDER_API int64_t diffrender_blocksparse_positions(const void* mask, int64_t rows,
                                                        int64_t columns, int64_t threads,
                                                        const void* ends, void* found_rows,
                                                        void* found_columns) {
  using namespace diffrender;
  const uint8_t* bytes = static_cast<const uint8_t*>(mask);
  const int32_t* end = static_cast<const int32_t*>(ends);
  int32_t* to_rows = static_cast<int32_t*>(found_rows);
  int32_t* to_columns = static_cast<int32_t*>(found_columns);
  return guarded([&]() -> int64_t {
    each_row(threads, rows, [&](int64_t r) {
      const uint8_t* row = bytes + r * columns;
      int64_t place = end[r];
      const int64_t last = end[r + 1];
      std::fill(to_rows + place, to_rows + last, int32_t(r));
      // Eight at a time where all are 0, else without asking: every column is written, the next true
      // one writes over what was not.
      for (int64_t c = 0; c < columns && place < last;) {
        uint64_t eight = 1;
        if (c + 8 <= columns) std::memcpy(&eight, row + c, sizeof eight);
        if (eight == 0) {
          c += 8;
          continue;
        }
        for (const int64_t stop = std::min(c + 8, columns); c < stop && place < last; ++c) {
          to_columns[place] = int32_t(c);
          place += row[c] != 0;
        }
      }
    });
    return kDone;
  });
}

// ends: (columns + 1); order, sorted_rows: (nnz) int32.
DIFFRENDER_API int64_t diffrender_blocksparse_sort(const void* block_rows,
                                                   const void* block_columns, int64_t nnz,
                                                   int64_t columns, void* ends, void* order,
                                                   void* sorted_rows) {
  using namespace diffrender;
  const int32_t* row = static_cast<const int32_t*>(block_rows);
  const int32_t* column = static_cast<const int32_t*>(block_columns);
  int32_t* end = static_cast<int32_t*>(ends);
  int32_t* to_order = static_cast<int32_t*>(order);
  int32_t* to_rows = static_cast<int32_t*>(sorted_rows);
  return guarded([&]() -> int64_t {
    std::fill(end, end + columns + 1, 0);
    for (int64_t e = 0; e < nnz; ++e) ++end[column[e] + 1];
    for (int64_t c = 0; c < columns; ++c) end[c + 1] += end[c];
    std::vector<int32_t> next(end, end + columns);
    for (int64_t e = 0; e < nnz; ++e) {
      const int32_t place = next[size_t(column[e])]++;
      to_order[place] = int32_t(e);
      to_rows[place] = row[e];
    }
    return kDone;
  });
}

// moves: (new_ends[rows]) int64.
DIFFRENDER_API int64_t diffrender_blocksparse_moves(int64_t rows, int64_t columns, int64_t threads,
                                                    const void* old_ends, const void* old_columns,
                                                    const void* new_ends, const void* new_columns,
                                                    void* moves) {
  using namespace diffrender;
  const int32_t* before = static_cast<const int32_t*>(old_ends);
  const int32_t* old_column = static_cast<const int32_t*>(old_columns);
  const int32_t* now = static_cast<const int32_t*>(new_ends);
  const int32_t* new_column = static_cast<const int32_t*>(new_columns);
  int64_t* to = static_cast<int64_t*>(moves);
  return guarded([&]() -> int64_t {
    parallel_with_torch(threads, (rows + kRows - 1) / kRows, [&](int64_t task) {
      std::vector<int32_t> place(size_t(columns), -1);
      for (int64_t r = task * kRows; r < std::min(rows, (task + 1) * kRows); ++r) {
        for (int32_t e = before[r]; e < before[r + 1]; ++e) place[size_t(old_column[e])] = e;
        for (int32_t e = now[r]; e < now[r + 1]; ++e) to[e] = place[size_t(new_column[e])];
        for (int32_t e = before[r]; e < before[r + 1]; ++e) place[size_t(old_column[e])] = -1;
      }
    });
    return kDone;
  });
}
