// How freed memory is kept for the next call.
//
// By default glibc hands large blocks back to the system as soon as they are freed, and the next
// step of an optimization pays for every page again: for maps of a few megabytes that is as much
// time as drawing them. Raising two of its limits keeps up to `bytes` at the top of the heap.

#include "common.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace diffrender {

void large_pages(void* data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = uintptr_t(2) << 20;
  if (bytes < kLargeMap) return;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(data) + uintptr_t(bytes)) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

}  // namespace diffrender

// Returns 1 where the C library took the wish, 0 elsewhere.
DIFFRENDER_API int64_t diffrender_keep_memory(int64_t bytes) {
#if defined(__GLIBC__)
  constexpr int64_t largest = 32 << 20;  // glibc maps blocks from this size on, whatever is asked
  return mallopt(M_TRIM_THRESHOLD, int(std::min<int64_t>(bytes, 1 << 30))) &&
         mallopt(M_MMAP_THRESHOLD, int(std::min(bytes, largest)));
#else
  (void)bytes;
  return 0;
#endif
}
