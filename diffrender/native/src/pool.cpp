// A small persistent thread pool, and the two numbers that the loader asks for.
//
// Workers look out for the next call for a few microseconds before they sleep, since waking one up
// costs as much as a small image. A call never waits for one that has not woken up. A child
// process after fork() has none of its parent's threads, so it forgets the parent's pool and makes
// its own. A call that finds the pool busy (another Python
// thread is inside) runs on the caller's thread alone: results do not depend on threads.

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "common.h"

namespace diffrender {
namespace {

struct Job {
  const std::function<void(int64_t)>* task;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::atomic<bool> no_memory{false};

  void work() {
    for (int64_t i = next++; i < count; i = next++) {
      try {
        (*task)(i);
      } catch (const std::bad_alloc&) {
        no_memory = true;
      }
    }
  }
};

// How often a thread looks before it sleeps: some 150 microseconds, longer than the gap between the
// kernels of one step.
constexpr int kLooks = 8000;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  // False when another thread is inside.
  bool run(int64_t threads, Job& job) {
    std::unique_lock<std::mutex> busy(entry_, std::try_to_lock);
    if (!busy.owns_lock()) return false;
    const int64_t helpers = std::min(threads, job.count) - 1;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      try {
        while (int64_t(workers_) < helpers) {
          std::thread([this, id = workers_] { loop(id); }).detach();
          ++workers_;
        }
      } catch (const std::system_error&) {
        // A limit of threads or memory: those there are share the work.
      }
      job_ = &job;
      wanted_ = helpers;
      ++round_;
      if (asleep_ > 0) wake_.notify_all();
    }
    job.work();
    // No task is left: whoever has not joined by now stays out, the others are waited for.
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = nullptr;
    }
    for (int look = 0; look < kLooks && running_ > 0; ++look) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    return true;
  }

  // Wakes the workers that sleep, so that they look out when the work comes.
  void call() {
    if (asleep_ == 0) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ++round_;
    }
    wake_.notify_all();
  }

 private:
  void loop(int64_t id) {
    uint64_t seen = 0;
    for (;;) {
      Job* job = nullptr;
      for (int look = 0; look < kLooks && round_ == seen; ++look) pause();
      {
        std::unique_lock<std::mutex> lock(mutex_);
        ++asleep_;
        wake_.wait(lock, [&] { return round_ != seen; });
        --asleep_;
        seen = round_;
        if (job_ == nullptr || id >= wanted_) continue;  // too late, or only called: look for the next
        job = job_;
        ++running_;
      }
      job->work();
      std::lock_guard<std::mutex> lock(mutex_);
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex entry_, mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  int64_t workers_ = 0, wanted_ = 0;
  std::atomic<int64_t> running_{0}, asleep_{0};  // changed under the lock, looked at without
  std::atomic<uint64_t> round_{0};
};

std::atomic<Pool*> current{nullptr};

Pool& pool() {
  Pool* found = current.load();
  if (found == nullptr) {
#if !defined(_WIN32)
    static std::once_flag once;
    std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { current = nullptr; }); });
#endif
    Pool* made = new Pool();  // never freed: its workers may outlive main()
    if (current.compare_exchange_strong(found, made)) return *made;
    delete made;
  }
  return *found;
}

}  // namespace

// Torch's own team of threads, once it is known: libgomp's GOMP_parallel(body, data, threads, flags).
typedef void (*Team)(void (*)(void*), void*, unsigned, unsigned);
std::atomic<Team> team{nullptr};

void parallel_with_torch(int64_t threads, int64_t count, const std::function<void(int64_t)>& task) {
  const Team run = team.load();
  if (threads <= 1 || count <= 1 || run == nullptr) return parallel(threads, count, task);
  Job job;
  job.task = &task;
  job.count = count;
  run([](void* data) { static_cast<Job*>(data)->work(); }, &job, unsigned(threads), 0);
  if (job.no_memory) throw std::bad_alloc();
}

void call_workers(int64_t threads) {
  if (threads > 1) pool().call();
}

void parallel(int64_t threads, int64_t count, const std::function<void(int64_t)>& task) {
  Job job;
  job.task = &task;
  job.count = count;
  if (threads <= 1 || count <= 1 || !pool().run(threads, job)) job.work();
  if (job.no_memory) throw std::bad_alloc();
}

}  // namespace diffrender

// Takes libgomp's GOMP_parallel, for products that stand between torch's own. A child process after
// fork() goes back to the pool: libgomp does not survive it.
DIFFRENDER_API int64_t diffrender_share_team(void* gomp_parallel) {
#if !defined(_WIN32)
  static std::once_flag once;
  std::call_once(once, [] {
    pthread_atfork(nullptr, nullptr, [] { diffrender::team = nullptr; });
  });
#endif
  diffrender::team = reinterpret_cast<diffrender::Team>(gomp_parallel);
  return 1;
}

// Raised whenever the signature of any exported function changes.
DIFFRENDER_API int64_t diffrender_abi() { return 6; }

// The widest instruction set this processor has among those built: 0 baseline, 1 AVX2, 2 AVX-512.
DIFFRENDER_API int64_t diffrender_cpu_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  unsigned a = 0, b = 0, features = 0, d = 0;
  const bool halves = __get_cpuid(1, &a, &b, &features, &d) && (features >> 29 & 1u);  // F16C
  if (!halves) return 0;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}
