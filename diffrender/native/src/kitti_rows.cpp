// Rows of KITTI object files (devkit readme, "Data Format Description");
// twin: diffrender/evaluate/rows_python.py.
//
// Many files lie one after the other in one buffer. A row is a line that is not blank: a type and
// 14 or 15 numbers, between blanks. A number is [+-] digits [. digits] [e [+-] digits], rounded
// to the nearest double: a mantissa below 2^53 times or over a power of ten up to 10^22 is exact
// in both factors, so one operation rounds correctly (Clinger 1990); anything else goes to strtod
// in the C locale. A row that breaks the format is marked, and the twin says what is wrong.

#include <locale.h>
#include <stdlib.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

#include <string>

#include "common.h"

namespace diffrender {
namespace {

constexpr int64_t kNumbers = 15;  // columns behind the type, the score the last
constexpr int64_t kLongestType = 64;
constexpr double kLargest = 1e9;  // of every number but the score
constexpr int64_t kFilesATask = 64;

inline bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

double slow_number(const char* begin, const char* end) {
  static const locale_t c_locale = newlocale(LC_ALL_MASK, "C", nullptr);
  return strtod_l(std::string(begin, end).c_str(), nullptr, c_locale);
}

// False unless all of [begin, end) is one finite number.
bool number(const char* begin, const char* end, double* out) {
  static constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  const char* p = begin;
  const bool negative = p < end && *p == '-';
  if (p < end && (*p == '-' || *p == '+')) ++p;
  uint64_t mantissa = 0;
  int64_t digits = 0, significant = 0, exponent = 0;
  for (; p < end && is_digit(*p); ++p, ++digits) {
    if (significant < 19) mantissa = 10 * mantissa + uint64_t(*p - '0');
    if (mantissa > 0) ++significant;
  }
  if (p < end && *p == '.') {
    for (++p; p < end && is_digit(*p); ++p, ++digits) {
      if (significant < 19) {
        mantissa = 10 * mantissa + uint64_t(*p - '0');
        --exponent;
      }
      if (mantissa > 0) ++significant;
    }
  }
  if (digits == 0) return false;
  if (p < end && (*p == 'e' || *p == 'E')) {
    ++p;
    const bool down = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) ++p;
    if (p == end) return false;
    int64_t power = 0;
    for (; p < end && is_digit(*p); ++p) power = std::min<int64_t>(10 * power + (*p - '0'), 100000);
    exponent += down ? -power : power;
  }
  if (p != end) return false;
  double value;
  if (significant <= 19 && mantissa < (uint64_t(1) << 53) && exponent >= -22 && exponent <= 22) {
    value = exponent < 0 ? double(mantissa) / kPowers[-exponent]
                         : double(mantissa) * kPowers[exponent];
    if (negative) value = -value;
  } else {
    value = slow_number(begin, end);
  }
  *out = value;
  return std::isfinite(value);
}

// Index of the type among `count` names, each in lower case and ended by '\n'; -1 for another.
int64_t type_index(const char* begin, const char* end, const char* names, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const char* p = begin;
    bool same = true;
    for (; *names != '\n'; ++names) {
      if (!same || p == end) {
        same = false;
        continue;
      }
      const char c = *p >= 'A' && *p <= 'Z' ? char(*p - 'A' + 'a') : *p;
      same = c == *names;
      ++p;
    }
    ++names;
    if (same && p == end) return i;
  }
  return -1;
}

struct Rows {
  double* numbers;      // (N, 15)
  int64_t* kind;        // (N)
  int64_t* line;        // (N) from 1
  int64_t* type_start;  // (N) where the type begins in the buffer
  int64_t* bad;         // (N) 1 where the row breaks the format
};

// One row in [p, end); the last number stays NaN where the row has 15 columns.
bool parse_row(const char* p, const char* end, int64_t least, int64_t most, double* numbers) {
  const char* type = p;
  while (p < end && !is_blank(*p)) ++p;
  if (p - type > kLongestType) return false;
  for (const char* c = type; c < p; ++c)
    if (*c < 0x21 || *c > 0x7e) return false;
  int64_t columns = 1;
  for (;;) {
    while (p < end && is_blank(*p)) ++p;
    if (p == end) break;
    const char* begin = p;
    while (p < end && !is_blank(*p)) ++p;
    if (columns == most || !number(begin, p, numbers + columns - 1)) return false;
    if (columns < kNumbers && std::abs(numbers[columns - 1]) > kLargest) return false;
    ++columns;
  }
  return columns >= least;
}

template <class Line>
void each_line(const char* p, const char* end, Line&& visit) {
  static const char kMark[] = "\xef\xbb\xbf";  // byte order mark
  if (end - p >= 3 && std::memcmp(p, kMark, 3) == 0) p += 3;
  for (int64_t line = 1; p < end; ++line) {
    const char* stop = static_cast<const char*>(std::memchr(p, '\n', size_t(end - p)));
    if (stop == nullptr) stop = end;
    while (p < stop && is_blank(*p)) ++p;
    if (p < stop) visit(p, stop, line);
    p = stop + (stop < end ? 1 : 0);
  }
}

template <class Task>
void each_file(int64_t files, int64_t threads, Task&& task) {
  parallel(threads, (files + kFilesATask - 1) / kFilesATask, [&](int64_t part) {
    const int64_t last = std::min(files, (part + 1) * kFilesATask);
    for (int64_t file = part * kFilesATask; file < last; ++file) task(file);
  });
}

}  // namespace
}  // namespace diffrender

// Rows of each file: file_starts (files + 1) -> counts (files).
DIFFRENDER_API int64_t diffrender_kitti_count_rows(const char* text, const int64_t* file_starts,
                                                   int64_t files, int64_t threads,
                                                   int64_t* counts) {
  using namespace diffrender;
  return guarded([&] {
    each_file(files, threads, [&](int64_t file) {
      int64_t count = 0;
      each_line(text + file_starts[file], text + file_starts[file + 1],
                [&](const char*, const char*, int64_t) { ++count; });
      counts[file] = count;
    });
    return int64_t(kDone);
  });
}

// The rows themselves, those of file f at row_starts[f] and after; `numbers` comes filled with NaN.
DIFFRENDER_API int64_t diffrender_kitti_parse_rows(
    const char* text, const int64_t* file_starts, const int64_t* row_starts, int64_t files,
    const char* names, int64_t name_count, int64_t least, int64_t most, int64_t threads,
    double* numbers, int64_t* kind, int64_t* line, int64_t* type_start, int64_t* bad) {
  using namespace diffrender;
  const Rows rows{numbers, kind, line, type_start, bad};
  return guarded([&] {
    each_file(files, threads, [&](int64_t file) {
      int64_t row = row_starts[file];
      each_line(text + file_starts[file], text + file_starts[file + 1],
                [&](const char* begin, const char* end, int64_t number) {
                  const char* stop = begin;
                  while (stop < end && !is_blank(*stop)) ++stop;
                  rows.kind[row] = type_index(begin, stop, names, name_count);
                  rows.line[row] = number;
                  rows.type_start[row] = begin - text;
                  rows.bad[row] = !parse_row(begin, end, least, most, rows.numbers + kNumbers * row);
                  ++row;
                });
    });
    return int64_t(kDone);
  });
}
