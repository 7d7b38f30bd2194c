// World points to homogeneous pixels; twin: diffrender/raster/_project.py (project).
//
// h = K (R X + t) = z (x, y, 1), for ragged batches with one camera for all or one for each mesh.
// Backward, with g = dL/dh, M = sum g X^T and s = sum g over a mesh's points: dL/dX = (K R)^T g,
// dL/dK = M R^T + s t^T, dL/dR = K^T M, dL/dt = K^T s. Sums are taken in double over chunks of a
// fixed size and the chunks added in order, so the bits do not depend on threads.

#include "project.h"

namespace diffrender {
namespace {

constexpr int64_t kPointsEach = 8192;

inline Matrix operator*(const Matrix& a, const Matrix& b) {
  Matrix out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      out.m[i][j] = a.m[i][0] * b.m[0][j] + a.m[i][1] * b.m[1][j] + a.m[i][2] * b.m[2][j];
  return out;
}

inline Matrix transposed(const Matrix& a) {
  Matrix out;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) out.m[i][j] = a.m[j][i];
  return out;
}

struct Chunk {
  int64_t mesh, first, last;
};

inline std::vector<Chunk> chunks_of(const int64_t* offsets, int64_t meshes) {
  std::vector<Chunk> chunks;
  for (int64_t b = 0; b < meshes; ++b)
    for (int64_t v = offsets[b]; v < offsets[b + 1]; v += kPointsEach)
      chunks.push_back({b, v, std::min(offsets[b + 1], v + kPointsEach)});
  return chunks;
}

}  // namespace

template <class T>
int64_t project(const T* points, const int64_t* offsets, int64_t meshes, const Cameras<T>& cameras,
                int64_t threads, T* h) {
  const auto chunks = chunks_of(offsets, meshes);
  parallel(threads, chunks.size(), [&](int64_t task) {
    const Chunk& chunk = chunks[task];
    const Matrix k = cameras.read(cameras.intrinsics, chunk.mesh);
    const Matrix p = k * cameras.read(cameras.rotation, chunk.mesh);
    const T* t = cameras.translation + 3 * cameras.each * chunk.mesh;
    double shift[3];
    for (int i = 0; i < 3; ++i) shift[i] = k.m[i][0] * t[0] + k.m[i][1] * t[1] + k.m[i][2] * t[2];
    for (int64_t v = chunk.first; v < chunk.last; ++v) {
      const Vec3 x = load(points, v);
      for (int i = 0; i < 3; ++i)
        h[3 * v + i] = T(p.m[i][0] * x.x + p.m[i][1] * x.y + p.m[i][2] * x.z + shift[i]);
    }
  });
  return kDone;
}

template <class T>
int64_t project_backward(const T* points, const int64_t* offsets, int64_t meshes,
                         const Cameras<T>& cameras, const T* grad, int64_t threads,
                         T* grad_points, T* grad_k, T* grad_r, T* grad_t) {
  const auto chunks = chunks_of(offsets, meshes);
  std::vector<double> sums(grad_k ? 12 * chunks.size() : 0, 0.0);
  parallel(threads, chunks.size(), [&](int64_t task) {
    const Chunk& chunk = chunks[task];
    const Matrix p = cameras.read(cameras.intrinsics, chunk.mesh) *
                     cameras.read(cameras.rotation, chunk.mesh);
    double own[12] = {0};
    for (int64_t v = chunk.first; v < chunk.last; ++v) {
      const Vec3 g = load(grad, v);  // a copy: the gradients may share their memory
      if (grad_points)
        for (int i = 0; i < 3; ++i)
          grad_points[3 * v + i] = T(p.m[0][i] * g.x + p.m[1][i] * g.y + p.m[2][i] * g.z);
      if (!grad_k) continue;
      const Vec3 x = load(points, v);
      const double rows[3] = {g.x, g.y, g.z}, columns[3] = {x.x, x.y, x.z};
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) own[3 * i + j] += rows[i] * columns[j];
        own[9 + i] += rows[i];
      }
    }
    if (grad_k) std::copy_n(own, 12, sums.data() + 12 * task);
  });
  if (!grad_k) return kDone;
  const int64_t count = cameras.each ? meshes : 1;
  std::vector<double> total(12 * count, 0.0);
  for (size_t task = 0; task < chunks.size(); ++task) {
    double* t = total.data() + 12 * cameras.each * chunks[task].mesh;
    for (int i = 0; i < 12; ++i) t[i] += sums[12 * task + i];
  }
  for (int64_t b = 0; b < count; ++b) {
    const double* s = total.data() + 12 * b;
    Matrix moment;
    for (int i = 0; i < 9; ++i) moment.m[i / 3][i % 3] = s[i];
    const Matrix k = cameras.read(cameras.intrinsics, b), r = cameras.read(cameras.rotation, b);
    const Matrix by_k = moment * transposed(r), by_r = transposed(k) * moment;
    const T* t = cameras.translation + 3 * cameras.each * b;
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        grad_k[9 * b + 3 * i + j] = T(by_k.m[i][j] + s[9 + i] * t[j]);
        grad_r[9 * b + 3 * i + j] = T(by_r.m[i][j]);
      }
      grad_t[3 * b + i] = T(k.m[0][i] * s[9] + k.m[1][i] * s[10] + k.m[2][i] * s[11]);
    }
  }
  return kDone;
}

template int64_t project(const float*, const int64_t*, int64_t, const Cameras<float>&, int64_t,
                         float*);
template int64_t project(const double*, const int64_t*, int64_t, const Cameras<double>&, int64_t,
                         double*);
template int64_t project_backward(const float*, const int64_t*, int64_t, const Cameras<float>&,
                                  const float*, int64_t, float*, float*, float*, float*);
template int64_t project_backward(const double*, const int64_t*, int64_t, const Cameras<double>&,
                                  const double*, int64_t, double*, double*, double*, double*);

}  // namespace diffrender

#define DIFFRENDER_PROJECT(NAME, T)                                                               \
  DIFFRENDER_API int64_t diffrender_project_##NAME(                                               \
      const T* points, const int64_t* offsets, int64_t meshes, const T* intrinsics,               \
      const T* rotation, const T* translation, int64_t each, int64_t threads, T* h) {             \
    return diffrender::guarded([&] {                                                              \
      return diffrender::project<T>(points, offsets, meshes,                                      \
                                    {intrinsics, rotation, translation, each}, threads, h);       \
    });                                                                                           \
  }                                                                                               \
  DIFFRENDER_API int64_t diffrender_project_backward_##NAME(                                      \
      const T* points, const int64_t* offsets, int64_t meshes, const T* intrinsics,               \
      const T* rotation, const T* translation, int64_t each, const T* grad, int64_t threads,      \
      T* grad_points, T* grad_k, T* grad_r, T* grad_t) {                                          \
    return diffrender::guarded([&] {                                                              \
      return diffrender::project_backward<T>(points, offsets, meshes,                             \
                                             {intrinsics, rotation, translation, each}, grad,     \
                                             threads, grad_points, grad_k, grad_r, grad_t);       \
    });                                                                                           \
  }

DIFFRENDER_PROJECT(f32, float)
DIFFRENDER_PROJECT(f64, double)
