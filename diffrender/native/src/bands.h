// One band of rows: draws its faces, pixel lanes at a time, and hands every row to a sink. Maths:
// rasterize.cpp.
#pragma once

#include "scene.h"

namespace diffrender {

#if defined(__AVX512F__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef double Lane __attribute__((vector_size(8 * kLanes)));
typedef int64_t Mask __attribute__((vector_size(8 * kLanes)));

constexpr int64_t kWide = 12;               // pixels from which a row's span is worth its divisions
constexpr size_t kKeptScratch = 1 << 21;    // entries of scratch that a thread may keep

template <class T>
inline void store(T* to, const Lane& value) {
  typedef T Narrow __attribute__((vector_size(kLanes * sizeof(T))));
  const Narrow narrow = __builtin_convertvector(value, Narrow);
  std::memcpy(to, &narrow, sizeof narrow);
}

// a0 b0 c0 a1 b1 c1 ...: lanes are turned four at a time, since lone stores cost most here.
template <class T, class Narrow>
inline void interleave(T* to, const Narrow& a, const Narrow& b, const Narrow& c) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  T rows[3][kLanes];
  std::memcpy(rows[0], &a, sizeof a);
  std::memcpy(rows[1], &b, sizeof b);
  std::memcpy(rows[2], &c, sizeof c);
  for (int l = 0; l < kLanes; l += 4) {
    Four x, y, z;
    std::memcpy(&x, rows[0] + l, sizeof x);
    std::memcpy(&y, rows[1] + l, sizeof y);
    std::memcpy(&z, rows[2] + l, sizeof z);
    const Four out[3] = {{x[0], y[0], z[0], x[1]}, {y[1], z[1], x[2], y[2]}, {z[2], x[3], y[3], z[3]}};
    std::memcpy(to + 3 * l, out, sizeof out);
  }
}

template <class T>
inline void store_triples(T* to, const Lane& a, const Lane& b, const Lane& c) {
  typedef T Narrow __attribute__((vector_size(kLanes * sizeof(T))));
  interleave(to, __builtin_convertvector(a, Narrow), __builtin_convertvector(b, Narrow),
             __builtin_convertvector(c, Narrow));
}

// One band of rows [row0, row1) of one image. A sink's `open(kept)` sees the faces drawn, and its
// `row(kept, slot, y)` their numbers that the row's entries show (layers side by side, nearest first,
// -1 for none).
template <class T>
struct Band {
  const Scene<T>& scene;
  const Image& image;
  int64_t row0, row1;

  template <class Sink>
  void run(const int32_t* first, const int32_t* last, Sink& sink) {
    const int64_t stride = (image.width + kLanes) * image.layers;  // whole lanes may overhang
    // Kept between calls: fresh memory of this size costs more than the drawing.
    thread_local std::vector<double> best;
    thread_local std::vector<int64_t> slot;
    thread_local std::vector<Face> kept;
    best.assign(stride * (row1 - row0), 0.0);
    slot.assign(stride * (row1 - row0), -1);
    kept.clear();
    for (const int32_t* f = first; f != last; ++f) {
      Face face;
      const int64_t* v = scene.faces + 3 * (scene.face0 + *f);
      const Vec3 corner[3] = {load(scene.h, v[0]), load(scene.h, v[1]), load(scene.h, v[2])};
      if (!set_up(corner, image.cull, face)) continue;
      face.bounds = scene.bounds[*f];
      face.bounds.top = std::max<int32_t>(face.bounds.top, int32_t(row0));
      face.bounds.bottom = std::min<int32_t>(face.bounds.bottom, int32_t(row1 - 1));
      face.index = scene.face0 + *f;
      const int64_t id = int64_t(kept.size());
      kept.push_back(face);
      if (image.layers == 1)
        draw_nearest(face, id, best.data(), slot.data(), stride);
      else
        draw_layers(face, id, best.data(), slot.data(), stride);
    }
    sink.open(kept);
    for (int64_t y = row0; y < row1; ++y) sink.row(kept, slot.data() + (y - row0) * stride, y);
    if (best.capacity() > kKeptScratch) {
      std::vector<double>().swap(best);
      std::vector<int64_t>().swap(slot);
    }
  }

  // Narrows [left, right] to the pixels that are inside an edge, exactly: rounding is monotone, so
  // along a row the test changes once. The crossing is guessed, then the test itself decides.
  static void narrow(double slope, double limit, double offset, int32_t& left, int32_t& right) {
    const auto inside = [&](int32_t x) { return slope * (x + 0.5) + offset > limit; };
    if (slope == 0) {
      if (!(offset > limit)) right = left - 1;
      return;
    }
    const double at = std::min(std::max(-offset / slope - 0.5, left - 1.0), right + 1.0);
    int32_t x = at >= left ? int32_t(at) : left;  // NaN goes to the left, too
    if (slope > 0) {
      while (x > left && inside(x - 1)) --x;
      while (x <= right && !inside(x)) ++x;
      left = x;
    } else {
      while (x < right && inside(x + 1)) ++x;
      while (x >= left && (x > right || !inside(x))) --x;
      right = x;
    }
  }

  void draw_nearest(const Face& face, int64_t id, double* best, int64_t* slot, int64_t stride) {
    Lane ramp;
    for (int l = 0; l < kLanes; ++l) ramp[l] = l + 0.5;
    const bool wide = face.bounds.right - face.bounds.left >= kWide;
    const double e0 = face.edge[0].x, e1 = face.edge[1].x, e2 = face.edge[2].x;
    const double ew = face.inverse.x, farthest = face.farthest;
    const double l0 = face.limit[0], l1 = face.limit[1], l2 = face.limit[2];
    for (int32_t y = face.bounds.top; y <= face.bounds.bottom; ++y) {
      const double py = y + 0.5;
      const double c0 = face.edge[0].y * py + face.edge[0].z;
      const double c1 = face.edge[1].y * py + face.edge[1].z;
      const double c2 = face.edge[2].y * py + face.edge[2].z;
      const double cw = face.inverse.y * py + face.inverse.z;
      int32_t left = face.bounds.left, right = face.bounds.right;
      double* best_row = best + (y - row0) * stride;
      int64_t* slot_row = slot + (y - row0) * stride;
      const auto put = [&](int32_t x, const Lane& inverse, const Lane& old, const Mask& wins) {
        const Lane now = wins ? inverse : old;
        Mask old_slot;
        std::memcpy(&old_slot, slot_row + x, sizeof(Mask));
        const Mask now_slot = (old_slot & ~wins) | (id & wins);
        std::memcpy(best_row + x, &now, sizeof(Lane));
        std::memcpy(slot_row + x, &now_slot, sizeof(Mask));
      };
      if (wide) {
        narrow(e0, l0, c0, left, right);
        narrow(e1, l1, c1, left, right);
        narrow(e2, l2, c2, left, right);
        const double stop = right + 1.0;
        for (int32_t x = left; x <= right; x += kLanes) {
          const Lane px = ramp + double(x);
          const Lane inverse = ew * px + cw;
          Lane old;
          std::memcpy(&old, best_row + x, sizeof(Lane));
          put(x, inverse, old, (px < stop) & (inverse > old) & (inverse < farthest));
        }
        continue;
      }
      for (int32_t x = left; x <= right; x += kLanes) {
        const Lane px = ramp + double(x);
        const Lane inverse = ew * px + cw;
        Lane old;
        std::memcpy(&old, best_row + x, sizeof(Lane));
        const Mask inside = (e0 * px + c0 > l0) & (e1 * px + c1 > l1) & (e2 * px + c2 > l2);
        put(x, inverse, old, inside & (inverse > old) & (inverse < farthest));
      }
    }
  }

  void draw_layers(const Face& face, int64_t id, double* best, int64_t* slot, int64_t stride) {
    const int64_t layers = image.layers;
    for (int32_t y = face.bounds.top; y <= face.bounds.bottom; ++y) {
      const double py = y + 0.5;
      const double c[3] = {face.edge[0].y * py + face.edge[0].z,
                           face.edge[1].y * py + face.edge[1].z,
                           face.edge[2].y * py + face.edge[2].z};
      const double cw = face.inverse.y * py + face.inverse.z;
      int32_t left = face.bounds.left, right = face.bounds.right;
      for (int i = 0; i < 3; ++i) narrow(face.edge[i].x, face.limit[i], c[i], left, right);
      for (int32_t x = left; x <= right; ++x) {
        const double inverse = face.inverse.x * (x + 0.5) + cw;
        double* list = best + (y - row0) * stride + x * layers;
        int64_t* ids = slot + (y - row0) * stride + x * layers;
        if (!(inverse > list[layers - 1]) || !(inverse < face.farthest)) continue;
        int64_t k = layers - 1;
        for (; k > 0 && inverse > list[k - 1]; --k) {
          list[k] = list[k - 1];
          ids[k] = ids[k - 1];
        }
        list[k] = inverse;
        ids[k] = id;
      }
    }
  }
};

}  // namespace diffrender
