// What every kernel shares: three-vectors in double, status codes, and the thread pool.
//
// Kernels are templates over the tensor's type (float or double) and compute in double. They are
// built with -ffp-contract=off, so a x b is exactly -(b x a): two faces that share an edge see
// exactly opposite edge functions, and every instruction set gives the same bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <vector>

#define DIFFRENDER_API extern "C" __attribute__((visibility("default")))

namespace diffrender {

enum Status : int64_t {
  kDone = 0,
  kNotFinite = 1,   // a vertex is NaN or infinite
  kBadIndex = 2,    // a face points outside its mesh's vertices
  kNoMemory = 3,
};

constexpr double kNear = 0.01;  // metres; the Python side says the same

struct Vec3 {
  double x, y, z;
};

inline Vec3 cross(const Vec3& a, const Vec3& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline double dot(const Vec3& a, const Vec3& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec3 operator*(const Vec3& a, double s) { return {a.x * s, a.y * s, a.z * s}; }
inline Vec3 operator+(const Vec3& a, const Vec3& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }

template <class T>
inline Vec3 load(const T* h, int64_t vertex) {
  const T* p = h + 3 * vertex;
  return {double(p[0]), double(p[1]), double(p[2])};
}

// Three neighbouring numbers as vector lanes; the fourth lane is 0, or junk from `load4`.
typedef double Lanes4 __attribute__((vector_size(32)));

inline Lanes4 load4(const double* p) {
  Lanes4 out;
  std::memcpy(&out, p, sizeof out);
  return out;
}
inline Lanes4 load4(const float* p) {
  typedef float Floats4 __attribute__((vector_size(16)));
  Floats4 in;
  std::memcpy(&in, p, sizeof in);
  return __builtin_convertvector(in, Lanes4);
}
template <class T>
inline Lanes4 load3(const T* p) {
  return Lanes4{double(p[0]), double(p[1]), double(p[2]), 0.0};
}
inline Lanes4 spread(double value) { return Lanes4{value, value, value, value}; }
inline double sum3(const Lanes4& v) { return v[0] + v[1] + v[2]; }

template <class T>
inline void add(T* grad, int64_t vertex, const Vec3& value) {
  T* p = grad + 3 * vertex;
  p[0] += T(value.x);
  p[1] += T(value.y);
  p[2] += T(value.z);
}

// Runs task(0) ... task(count - 1), each once, on up to `threads` threads; returns when all are
// done. Which thread runs a task is not fixed, so a task writes only what is its own.
void parallel(int64_t threads, int64_t count, const std::function<void(int64_t)>& task);

// The same on the threads that torch's own operations use, where they are known, else on the pool's:
// for kernels that take turns with torch's. Its threads go on spinning on their cores for a while
// after each operation, and two teams would stand in each other's way. It waits for all of them.
void parallel_with_torch(int64_t threads, int64_t count, const std::function<void(int64_t)>& task);

// Wakes the pool's workers ahead of a call of `parallel` that comes soon; waking takes longer than
// the steps before it.
void call_workers(int64_t threads);

// Asks for pages of 2 MiB under a map that is about to be written, where the system has them: a map
// of more than 32 MB is new memory at every step (memory.cpp), and faults cost more than drawing.
constexpr int64_t kLargeMap = 16 << 20;
void large_pages(void* data, int64_t bytes);

// How many pieces to cut each of `meshes` into so that `threads` have work.
inline int64_t pieces(int64_t threads, int64_t meshes, int64_t limit) {
  if (threads <= 1 || meshes >= 2 * threads || meshes == 0) return 1;
  return std::max<int64_t>(1, std::min<int64_t>(limit, (2 * threads + meshes - 1) / meshes));
}

// memset and memcpy by blocks on up to `threads` threads.
constexpr int64_t kBlockBytes = 1 << 18;

inline void set_zero(int64_t threads, void* to, int64_t bytes) {
  parallel(threads, (bytes + kBlockBytes - 1) / kBlockBytes, [&](int64_t k) {
    std::memset(static_cast<char*>(to) + k * kBlockBytes, 0,
                std::min(kBlockBytes, bytes - k * kBlockBytes));
  });
}

inline void copy(int64_t threads, void* to, const void* from, int64_t bytes) {
  parallel(threads, (bytes + kBlockBytes - 1) / kBlockBytes, [&](int64_t k) {
    std::memcpy(static_cast<char*>(to) + k * kBlockBytes,
                static_cast<const char*>(from) + k * kBlockBytes,
                std::min(kBlockBytes, bytes - k * kBlockBytes));
  });
}

// Runs `body` and turns an exhausted memory into a status.
template <class Body>
int64_t guarded(Body&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // namespace diffrender
