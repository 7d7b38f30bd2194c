// Blurred faces, as soft_silhouette.cpp and soft_shade.cpp see them.
//
// Lengths in the image are in units of half its shorter side: a corner is (x, y) in them and the
// depth z. At a pixel, E_i is the edge function opposite corner i and the screen barycentrics times
// the face's doubled area; u_i = E_i / z_i, e_i = u_i / sum u are perspective-correct, and the share
// of a corner is e_i clipped to [0, 1] and divided by the sum. With c = a + t (b - a) the outline's
// nearest point and r = p - c: d|r|^2/da = -2 (1 - t) r and d|r|^2/db = -2 t r.
#pragma once

#include "common.h"

namespace diffrender {

constexpr double kLeastArea = 1e-8;  // twice the least area that counts
constexpr double kHorizon = 1e-100;  // for the sum of u where the face's plane has its horizon

struct Corner {
  double x, y, z;
};

// The outline's point that is nearest to a pixel: r leads from it to the pixel.
struct Nearest {
  double squared = 1e300, rx = 0, ry = 0, t = 0;
  int a = 0, b = 0;
};

struct Shares {
  double u_sum = 0, clipped_sum = 0, depth = 0;
  double u[3], e[3], share[3];
};

struct SoftFace {
  Corner c[3];
  double area;  // twice, signed
  int64_t left, right, top, bottom;

  // False when the face cannot touch any pixel.
  bool set_up(const Corner corners[3], double radius, double scale, int64_t height, int64_t width) {
    for (int i = 0; i < 3; ++i) {
      c[i] = corners[i];
      if (!(c[i].z > kNear)) return false;
    }
    area = (c[1].x - c[0].x) * (c[2].y - c[0].y) - (c[1].y - c[0].y) * (c[2].x - c[0].x);
    if (!(std::abs(area) > kLeastArea)) return false;
    const auto low = [&](double v, int64_t n) {
      return int64_t(std::ceil(std::min(std::max((v - radius) / scale - 0.501, 0.0), double(n))));
    };
    const auto high = [&](double v, int64_t n) {
      return int64_t(
          std::floor(std::min(std::max((v + radius) / scale - 0.499, -1.0), double(n - 1))));
    };
    left = low(std::min({c[0].x, c[1].x, c[2].x}), width);
    right = high(std::max({c[0].x, c[1].x, c[2].x}), width);
    top = low(std::min({c[0].y, c[1].y, c[2].y}), height);
    bottom = high(std::max({c[0].y, c[1].y, c[2].y}), height);
    return left <= right && top <= bottom;
  }

  Nearest nearest(double x, double y) const {
    Nearest best;
    for (int i = 0; i < 3; ++i) {
      const int j = (i + 1) % 3;
      const double ex = c[j].x - c[i].x, ey = c[j].y - c[i].y;
      const double length = ex * ex + ey * ey;
      double t = length > 0 ? ((x - c[i].x) * ex + (y - c[i].y) * ey) / length : 0.0;
      t = std::min(std::max(t, 0.0), 1.0);
      const double rx = x - c[i].x - t * ex, ry = y - c[i].y - t * ey;
      const double squared = rx * rx + ry * ry;
      if (squared < best.squared) best = {squared, rx, ry, t, i, j};
    }
    return best;
  }

  // Signed squared distance and edge functions, or false when (x, y) lies beyond the blur radius.
  bool distance(double x, double y, double blur, double& signed_square, Nearest& point,
                double edge[3]) const {
    for (int i = 0; i < 3; ++i) {
      const Corner &p = c[(i + 1) % 3], &q = c[(i + 2) % 3];
      edge[i] = (q.x - p.x) * (y - p.y) - (q.y - p.y) * (x - p.x);
    }
    const bool inside = area > 0 ? edge[0] > 0 && edge[1] > 0 && edge[2] > 0
                                 : edge[0] < 0 && edge[1] < 0 && edge[2] < 0;
    point = nearest(x, y);
    if (!inside && !(point.squared < blur)) return false;
    signed_square = inside ? -point.squared : point.squared;
    return true;
  }

  Shares shares(const double edge[3]) const {
    Shares s;
    for (int i = 0; i < 3; ++i) s.u_sum += s.u[i] = edge[i] / c[i].z;
    if (s.u_sum == 0.0) s.u_sum = kHorizon;
    for (int i = 0; i < 3; ++i) {
      s.e[i] = s.u[i] / s.u_sum;
      s.clipped_sum += s.share[i] = std::min(std::max(s.e[i], 0.0), 1.0);
    }
    for (int i = 0; i < 3; ++i) {
      s.share[i] /= s.clipped_sum;
      s.depth += s.share[i] * c[i].z;
    }
    return s;
  }
};

struct SoftScene {
  const int64_t *faces, *vertex_offsets, *face_offsets;
  int64_t meshes, height, width, limit;  // limit: faces a pixel, 0 for all
  double sigma, blur, scale;             // blur squared, as sigma; scale: units a pixel

  // Face f of image b, whose projected corners are given; false when it cannot touch any pixel.
  bool take(const std::vector<Corner>& corners, int64_t b, int64_t f, SoftFace& face) const {
    const int64_t *v = faces + 3 * f, first = vertex_offsets[b];
    const Corner three[3] = {corners[v[0] - first], corners[v[1] - first], corners[v[2] - first]};
    return face.set_up(three, std::sqrt(blur), scale, height, width);
  }

  // Projected vertices of mesh b; a status other than kDone names the culprit.
  template <class T>
  int64_t project(const T* h, int64_t b, std::vector<Corner>& corners, int64_t& culprit) const {
    const int64_t v0 = vertex_offsets[b], v1 = vertex_offsets[b + 1];
    corners.resize(v1 - v0);
    for (int64_t v = v0; v < v1; ++v) {
      const Vec3 p = load(h, v);
      if (!std::isfinite(p.x + p.y + p.z)) {
        culprit = v;
        return kNotFinite;
      }
      corners[v - v0] = {p.x / p.z * scale, p.y / p.z * scale, p.z};
    }
    for (int64_t f = face_offsets[b]; f < face_offsets[b + 1]; ++f)
      for (int i = 0; i < 3; ++i)
        if (faces[3 * f + i] < v0 || faces[3 * f + i] >= v1) {
          culprit = f;
          return kBadIndex;
        }
    return kDone;
  }

  // Adds a corner's gradient by x, y (units) and z to that of its vertex, a homogeneous pixel.
  template <class T>
  void add_corner(const T* h, int64_t vertex, double by_x, double by_y, double by_z,
                  T* grad_h) const {
    const double gx = by_x * scale, gy = by_y * scale;
    if (gx == 0 && gy == 0 && by_z == 0) return;
    const Vec3 p = load(h, vertex);
    const double inverse = 1.0 / p.z;
    add(grad_h, vertex,
        {gx * inverse, gy * inverse, by_z - (gx * p.x + gy * p.y) * inverse * inverse});
  }
};

}  // namespace diffrender
