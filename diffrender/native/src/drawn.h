// What draw.cpp and draw_backward.cpp share: the call, attributes by corner, and packed crossings.
//
// Packed: first two numbers for each image, how many of its crossings are along rows and along
// columns; then, image by image and direction by direction, the records and after them the
// differences in - out, (n, C), filled up to whole eight bytes.
#pragma once

#include <memory>

#include "project.h"
#include "raster.h"

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

// Memory that lives from a forward pass to the backward pass of the same call.
struct Kept {
  static constexpr int kCrossings = 2;  // after the faces shown (0) and the projected vertices (1)
  std::unique_ptr<char[]> rooms[3];
  int64_t sizes[3] = {0, 0, 0};

  template <class N>
  N* room(int which, int64_t count) {
    const int64_t size = count * int64_t(sizeof(N));
    if (sizes[which] < size) {
      rooms[which].reset(new char[size]);
      sizes[which] = size;
    }
    return reinterpret_cast<N*>(rooms[which].get());
  }
};

constexpr int64_t kFewPixels = 100 * 100;

// What is drawn, as both directions take it; _draw_ops.py fills it in this order, eight bytes each.
template <class T>
struct DrawCall {
  const T *points, *intrinsics, *rotation, *translation;  // no camera: points are homogeneous
  int64_t each;                                           // 1 for a camera of its own for each mesh
  T* h;                                                   // (sum V, 3), where there is a camera
  const int64_t *faces, *vertex_offsets, *face_offsets;
  int64_t meshes, height, width, cull;
  const int64_t *topology, *edge_offsets;
  const int32_t *edges, *opposite_offsets, *opposite;
  const T* values;
  int64_t rows, corners, channels;
  int32_t* shown;  // (B, H, W), written by the forward pass; null for room of its own, h's too
  int64_t bytes;   // answers of the forward pass: room that the crossings need, what is kept until
  Kept* kept;      // the crossings are taken, and the vertex or face that a status is about
  int64_t culprit;

  const T* homogeneous() const { return intrinsics ? h : points; }
  // A small picture is drawn before a second thread is awake.
  int64_t useful(int64_t threads) const { return meshes * height * width < kFewPixels ? 1 : threads; }
  Cameras<T> cameras() const { return {intrinsics, rotation, translation, each}; }
  Attributes<T> attributes() const { return {values, corners ? nullptr : faces, channels}; }
};

// A face's attributes as functions of the pixel p = (x, y, 1): with the edge functions n_j . p,
// attribute c is A_c . p / (s . p) where s = sum_j n_j and A_c = sum_j a_(f,j)c n_j. Numbers are
// s (3) and A (C, 3).
template <class T>
inline void planes_of(const Vec3 edge[3], const T* const v[3], int64_t channels, double* to) {
  const Vec3 s = edge[0] + edge[1] + edge[2];
  to[0] = s.x;
  to[1] = s.y;
  to[2] = s.z;
  for (int64_t c = 0; c < channels; ++c) {
    const Vec3 a = edge[0] * double(v[0][c]) + edge[1] * double(v[1][c]) + edge[2] * double(v[2][c]);
    to[3 * c + 3] = a.x;
    to[3 * c + 4] = a.y;
    to[3 * c + 5] = a.z;
  }
}

}  // namespace diffrender
