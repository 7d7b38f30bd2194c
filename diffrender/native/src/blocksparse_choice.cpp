// Which blocks a mask keeps: how much each weighs, and the heaviest of many.
//
//   energy     sums of squares of the blocks of a dense matrix, in double: squares of float32 fit
//   strongest  the `count` largest of many floats, of equal ones the first
//
// The bound of the largest is found by counting, not by sorting: first the upper halves of the numbers'
// bits, then the lower halves of those at the bound. Twin: diffrender/blocksparse/_structure.py, numpy.

#include "blocksparse.h"

namespace diffrender {
namespace {

// Ascends with the number; both zeros are one.
inline uint32_t rank(float value) {
  const uint32_t bits = from_bits<uint32_t>(value + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

constexpr int64_t kHalf = 1 << 16;
constexpr int64_t kSome = 1 << 18;  // numbers of a task

// Counts of chosen(rank) < kHalf; ranks for which it is not are left out.
template <class Chosen>
std::vector<int64_t> count(const float* scores, int64_t size, int64_t threads, Chosen chosen) {
  const int64_t tasks = std::min<int64_t>(std::max<int64_t>(threads, 1), size / kSome + 1);
  std::vector<std::vector<int64_t>> parts(static_cast<size_t>(tasks));
  parallel_with_torch(threads, tasks, [&](int64_t task) {
    std::vector<int64_t>& own = parts[size_t(task)];
    own.assign(size_t(kHalf), 0);
    for (int64_t i = task * size / tasks; i < (task + 1) * size / tasks; ++i) {
      const int64_t bin = chosen(rank(scores[i]));
      if (bin >= 0) ++own[size_t(bin)];
    }
  });
  for (size_t task = 1; task < parts.size(); ++task)
    for (size_t bin = 0; bin < size_t(kHalf); ++bin) parts[0][bin] += parts[task][bin];
  return parts[0];
}

// The bin in which the `left`-th largest is; `left` becomes its place among the bin's.
int64_t find_bin(const std::vector<int64_t>& counts, int64_t& left) {
  int64_t bin = kHalf - 1;
  for (; counts[size_t(bin)] < left; --bin) left -= counts[size_t(bin)];
  return bin;
}

template <class T>
void add_energy(const T* weight, int64_t k, int64_t rows, int64_t columns, double* out) {
  const int64_t blocks = k / columns;
  std::fill(out, out + blocks, 0.0);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t b = 0; b < blocks; ++b) {
      const T* from = weight + r * k + b * columns;
      double sum = 0;
      for (int64_t q = 0; q < columns; ++q) {
        const double value = double(number(from[q]));
        sum += value * value;
      }
      out[b] += sum;
    }
}

}  // namespace
}  // namespace diffrender

// weight: (m, k) of float32 (dtype 0), bfloat16 (2) or float16 (3); out: (m / rows, k / columns).
DIFFRENDER_API int64_t diffrender_blocksparse_energy(const void* weight, int64_t dtype, int64_t m,
                                                     int64_t k, int64_t rows, int64_t columns,
                                                     int64_t threads, void* out) {
  using namespace diffrender;
  double* sums = static_cast<double*>(out);
  return guarded([&]() -> int64_t {
    const int64_t some = std::max<int64_t>(1, (1 << 16) / (rows * k)), all = m / rows;
    parallel_with_torch(threads, (all + some - 1) / some, [&](int64_t task) {
      for (int64_t i = task * some; i < std::min(all, (task + 1) * some); ++i) {
        double* own = sums + i * (k / columns);
        const int64_t first = i * rows * k;
        if (dtype == 0)
          add_energy(static_cast<const float*>(weight) + first, k, rows, columns, own);
        else if (dtype == 2)
          add_energy(static_cast<const BFloat16*>(weight) + first, k, rows, columns, own);
        else
          add_energy(static_cast<const Float16*>(weight) + first, k, rows, columns, own);
      }
    });
    return kDone;
  });
}

// scores: (size) floats, no NaN; 1 <= count <= size; chosen: (size) bytes, 1 for those that are kept.
DIFFRENDER_API int64_t diffrender_blocksparse_strongest(const void* scores, int64_t size,
                                                        int64_t count_wanted, int64_t threads,
                                                        void* chosen) {
  using namespace diffrender;
  const float* score = static_cast<const float*>(scores);
  uint8_t* keep = static_cast<uint8_t*>(chosen);
  return guarded([&]() -> int64_t {
    int64_t left = count_wanted;
    const uint32_t high = uint32_t(find_bin(
        count(score, size, threads, [](uint32_t r) { return int64_t(r >> 16); }), left));
    const uint32_t low = uint32_t(find_bin(
        count(score, size, threads,
              [high](uint32_t r) { return r >> 16 == high ? int64_t(r & 0xffffu) : int64_t(-1); }),
        left));
    const uint32_t bound = high << 16 | low;
    parallel_with_torch(threads, (size + kSome - 1) / kSome, [&](int64_t task) {
      for (int64_t i = task * kSome; i < std::min(size, (task + 1) * kSome); ++i)
        keep[i] = rank(score[i]) > bound;
    });
    for (int64_t i = 0; i < size && left > 0; ++i)
      if (rank(score[i]) == bound) {
        keep[i] = 1;
        --left;
      }
    return kDone;
  });
}
