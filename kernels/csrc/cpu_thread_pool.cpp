// A small persistent pool of sleeping threads.
//
// Why not OpenMP: its regions end in a barrier, so a worker that another process or another
// runtime's spinning thread keeps off its core stalls the whole call; which libgomp we would get,
// torch's or a second one, depends on what the process loaded first; and its threads do not survive
// fork(). These workers sleep in a condition variable, and a worker only ever *helps*: items are
// claimed from one counter, and a caller that finds no item left does not wait for a worker that
// has not woken up yet. A core held by somebody's spinning thread then costs parallelism, never a
// stall. Measured with 2 threads on 2 cores that other processes also used, calls alternating with
// torch's: 0.25 ms of attention ran at 246 GFLOP/s on this pool and at 19 on OpenMP's barriers. The
// price: for some 4 ms after a region of torch's, its spinning thread takes half of one core from
// our worker (6 ms of attention: 585 instead of 830 GFLOP/s). A measurement that alternates should
// pause that long.
//
// fork(): the child has none of the threads, so it leaves the parent's pool alone and makes its
// own. dlclose(): the destructor of the static owner joins the workers before their code goes away.
// Two copies of the library: all state is internal to one copy.
#include "cpu_thread_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace roofgate {
namespace {

constexpr size_t kScratchAlignment = 64;
constexpr int32_t kMaxThreads = 1024;
// Before it sleeps, a thread looks around for some 20 microseconds, as long as waking up takes:
// small calls in a row then need no wake-up, and nobody else misses the core for long.
constexpr int kLooksBeforeSleep = 1000;

template <class Condition>
void look_out_for(Condition condition) {
  for (int look = 0; look < kLooksBeforeSleep && !condition(); ++look) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

// One aligned buffer that only grows.
class ScratchBuffer {
 public:
  ScratchBuffer() = default;
  ScratchBuffer(ScratchBuffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  ScratchBuffer(const ScratchBuffer&) = delete;
  ScratchBuffer& operator=(const ScratchBuffer&) = delete;
  ~ScratchBuffer() { free(data_); }

  bool reserve(size_t bytes) {
    if (bytes <= bytes_) return true;
    free(data_);
    data_ = nullptr;
    bytes_ = 0;
    if (posix_memalign(&data_, kScratchAlignment, bytes) != 0) return false;
    bytes_ = bytes;
    return true;
  }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

struct Job {
  ItemBody body;
  const void* task;
  int64_t items;
  std::atomic<int64_t> next_item{0};

  void drain(void* scratch) {
    int64_t item;
    while ((item = next_item.fetch_add(1, std::memory_order_relaxed)) < items) {
      body(task, item, scratch);
    }
  }
};

// Workers must not take the signals that Python expects on its main thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

class ThreadPool {
 public:
  ~ThreadPool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // False where the pool serves another caller at the moment, or memory is short.
  bool try_run(Job& job, int32_t threads, size_t scratch_bytes) {
    const std::unique_lock<std::mutex> call(call_, std::try_to_lock);
    if (!call.owns_lock()) return false;
    const int32_t participants = prepare(threads, scratch_bytes);
    if (participants == 0) return false;
    offer(job, participants - 1);
    job.drain(scratch_[0].data());
    retract();
    return true;
  }

  pid_t process() const { return process_; }

 private:
  // Starts missing workers and reserves scratch; returns how many threads can take part.
  int32_t prepare(int32_t threads, size_t scratch_bytes) {
    try {
      workers_.reserve(threads - 1);
      const SignalsBlocked inherited_by_workers;
      while (scratch_.size() < static_cast<size_t>(threads)) scratch_.emplace_back();
      while (workers_.size() < static_cast<size_t>(threads - 1)) {
        workers_.emplace_back([this] { work(); });
      }
    } catch (const std::bad_alloc&) {
    } catch (const std::system_error&) {  // the process may not start more threads
    }
    const size_t available = std::min(scratch_.size(), workers_.size() + 1);
    const int32_t wanted = std::min(threads, static_cast<int32_t>(available));
    int32_t ready = 0;
    while (ready < wanted && scratch_[ready].reserve(scratch_bytes)) ++ready;
    return ready;
  }

  void offer(Job& job, int32_t helpers) {
    if (helpers == 0) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      helpers_wanted_ = helpers;
    }
    for (int32_t i = 0; i < helpers; ++i) wake_.notify_one();
  }

  // Takes the job back from workers that did not come and waits for those that did.
  void retract() {
    std::unique_lock<std::mutex> lock(mutex_);
    helpers_wanted_ = 0;
    lock.unlock();
    look_out_for([this] { return helpers_running_ == 0; });
    lock.lock();
    idle_.wait(lock, [this] { return helpers_running_ == 0; });
    job_ = nullptr;
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      lock.unlock();
      look_out_for([this] { return helpers_wanted_ > 0; });
      lock.lock();
      wake_.wait(lock, [this] { return stopping_ || helpers_wanted_ > 0; });
      if (stopping_) return;
      void* const scratch = scratch_[helpers_wanted_--].data();
      ++helpers_running_;
      Job& job = *job_;
      lock.unlock();
      job.drain(scratch);
      lock.lock();
      if (--helpers_running_ == 0) idle_.notify_one();
    }
  }

  const pid_t process_ = getpid();
  std::mutex call_;  // held for a whole call
  std::vector<std::thread> workers_;
  std::vector<ScratchBuffer> scratch_;  // [0] is the caller's, [i] the i-th helper's

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, idle_;
  Job* job_ = nullptr;
  std::atomic<int32_t> helpers_wanted_{0};   // written under the mutex
  std::atomic<int32_t> helpers_running_{0};  // written under the mutex
  bool stopping_ = false;
};

std::atomic<ThreadPool*> current_pool{nullptr};

struct PoolOwner {
  ~PoolOwner() {
    ThreadPool* const pool = current_pool.exchange(nullptr);
    if (pool != nullptr && pool->process() == getpid()) delete pool;
  }
};
const PoolOwner pool_owner;

// The pool of this process, or null without memory. A parent's pool stays as it is: its mutexes may
// be locked by threads that the child does not have.
ThreadPool* pool_of_this_process() {
  ThreadPool* pool = current_pool.load(std::memory_order_acquire);
  if (pool != nullptr && pool->process() == getpid()) return pool;
  ThreadPool* const fresh = new (std::nothrow) ThreadPool;
  if (fresh == nullptr || current_pool.compare_exchange_strong(pool, fresh)) return fresh;
  delete fresh;
  return pool;
}

}  // namespace

roofgate_status run_items(int32_t threads, int64_t items, size_t scratch_bytes, ItemBody body,
                          const void* task) noexcept {
  if (items <= 0) return ROOFGATE_OK;
  const int64_t useful = std::min<int64_t>(std::clamp(threads, 1, kMaxThreads), items);
  Job job{body, task, items};
  ThreadPool* const pool = pool_of_this_process();
  if (pool != nullptr && pool->try_run(job, static_cast<int32_t>(useful), scratch_bytes)) {
    return ROOFGATE_OK;
  }
  ScratchBuffer own;  // another thread is using the pool: this one works alone
  if (!own.reserve(scratch_bytes)) return ROOFGATE_OUT_OF_MEMORY;
  job.drain(own.data());
  return ROOFGATE_OK;
}

}  // namespace roofgate
