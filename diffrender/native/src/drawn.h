// What draw.cpp hands to draw_backward.cpp: attributes by corner, and packed crossings.
//
// Packed: first two numbers for each image, how many of its crossings are along rows and along
// columns; then, image by image and direction by direction, the records and after them the
// differences in - out, (n, C), filled up to whole eight bytes.
#pragma once

#include "common.h"

namespace diffrender {

struct Record {
  int32_t in, out, a, b;  // pixels of the image, vertices of the mesh
  double along, slope, sign, alpha;
};

template <class T>
inline int64_t part_bytes(int64_t count, int64_t channels) {
  const int64_t differences = count * channels * int64_t(sizeof(T));
  return count * int64_t(sizeof(Record)) + (differences + 7) / 8 * 8;
}

// Attributes of vertices, or of face corners where `faces` is null.
template <class T>
struct Attributes {
  const T* values;
  const int64_t* faces;
  int64_t channels;

  int64_t row(int64_t f, int j) const { return faces ? faces[3 * f + j] : 3 * f + j; }
  void corners_of(int64_t f, const T* v[3]) const {
    for (int j = 0; j < 3; ++j) v[j] = values + row(f, j) * channels;
  }
};

}  // namespace diffrender
