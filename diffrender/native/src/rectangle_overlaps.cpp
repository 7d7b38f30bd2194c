// Area common to pairs of rotated rectangles; twin: diffrender/evaluate/rectangles.py.
//
// A rectangle is (x, z, length, width, yaw): its corners are (x, z) +- l/2 (cos yaw, -sin yaw)
// +- w/2 (sin yaw, cos yaw). The first is cut by the four edges of the second (Sutherland and
// Hodgman 1974): a corner stays where cross(edge, corner - start) >= 0, and an edge that changes
// sides gets a corner at p + (q - p) s_p / (s_p - s_q). The area is half the sum of
// cross(p_i, p_i+1) about the first rectangle's centre, which keeps digits far from the origin.

#include "common.h"

namespace diffrender {
namespace {

constexpr int64_t kPairsATask = 4096;

struct Point {
  double x, z;
};

// Corners about (ox, oz), counter-clockwise in (x, z).
void corners(const double* r, double ox, double oz, Point out[4]) {
  const double c = std::cos(r[4]), s = std::sin(r[4]);
  // A negative side only names the opposite corner first.
  const double l = std::abs(r[2]) / 2, w = std::abs(r[3]) / 2;
  const double fx = c * l, fz = -s * l, gx = s * w, gz = c * w, x = r[0] - ox, z = r[1] - oz;
  out[0] = {x - fx - gx, z - fz - gz};
  out[1] = {x + fx - gx, z + fz - gz};
  out[2] = {x + fx + gx, z + fz + gz};
  out[3] = {x - fx + gx, z - fz + gz};
}

double common_area(const double* first, const double* second) {
  Point polygon[32], clip[4], cut[32];  // rounding may give a few corners too many
  double side[32];
  corners(first, first[0], first[1], polygon);
  corners(second, first[0], first[1], clip);
  int count = 4;
  for (int e = 0; e < 4 && count > 0; ++e) {
    const Point start = clip[e], stop = clip[(e + 1) % 4];
    const double ex = stop.x - start.x, ez = stop.z - start.z;
    for (int i = 0; i < count; ++i)
      side[i] = ex * (polygon[i].z - start.z) - ez * (polygon[i].x - start.x);
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      const int j = i + 1 == count ? 0 : i + 1;
      if (side[i] >= 0) cut[kept++] = polygon[i];
      if ((side[i] > 0 && side[j] < 0) || (side[i] < 0 && side[j] > 0)) {
        const double share = side[i] / (side[i] - side[j]);
        cut[kept++] = {polygon[i].x + share * (polygon[j].x - polygon[i].x),
                       polygon[i].z + share * (polygon[j].z - polygon[i].z)};
      }
    }
    count = kept;
    std::copy(cut, cut + count, polygon);
  }
  double twice = 0;
  for (int i = 0; i < count; ++i) {
    const Point &p = polygon[i], &q = polygon[i + 1 == count ? 0 : i + 1];
    twice += p.x * q.z - q.x * p.z;
  }
  return std::max(twice / 2, 0.0);
}

}  // namespace
}  // namespace diffrender

// first, second (pairs, 5) -> area (pairs).
DIFFRENDER_API int64_t diffrender_rectangle_overlaps(const double* first, const double* second,
                                                     int64_t pairs, int64_t threads,
                                                     double* area) {
  using namespace diffrender;
  return guarded([&] {
    parallel(threads, (pairs + kPairsATask - 1) / kPairsATask, [&](int64_t part) {
      const int64_t last = std::min(pairs, (part + 1) * kPairsATask);
      for (int64_t i = part * kPairsATask; i < last; ++i)
        area[i] = common_area(first + 5 * i, second + 5 * i);
    });
    return int64_t(kDone);
  });
}
