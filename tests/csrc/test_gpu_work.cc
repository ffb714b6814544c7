// A graph is captured while nothing else works on a GPU, and nothing begins to until it is.
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"
#include "ort/gpu_work.h"
#include "ort/worker.h"

using g4v::ort::GpuAlone;
using g4v::ort::GpuWork;

namespace {

void TestAloneOrNotAtAll() {
  {
    const GpuWork mine(true);
    std::thread([] { CHECK(!GpuAlone::Try()); }).join();
    const GpuWork none(false);
  }
  {
    const GpuWork on_the_processor(false);
    std::thread([] { CHECK(GpuAlone::Try()); }).join();
  }
  CHECK(GpuAlone::Try());
}

void TestOthersWait() {
  std::atomic<bool> worked{false};
  std::thread other;
  {
    const auto alone = GpuAlone::Try();
    CHECK(alone);
    const GpuWork mine(true);  // let through
    other = std::thread([&] {
      const GpuWork work(true);
      worked = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(!worked);
  }
  other.join();
  CHECK(worked);
  // This thread's work counts again.
  const GpuWork mine(true);
  std::thread([] { CHECK(!GpuAlone::Try()); }).join();
}

void TestManyThreads() {
  std::atomic<int> working{0};
  std::atomic<int> wrong{0};
  std::atomic<int> captured{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000 || (t == 0 && captured == 0); ++i) {
        if (t == 0) {
          if (const auto alone = GpuAlone::Try()) {
            ++captured;
            if (working != 0) ++wrong;
          }
        } else {
          const GpuWork work(true);
          ++working;
          --working;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(captured > 0);
}

void TestWorker() {
  g4v::ort::Worker worker;
  std::thread::id first;
  worker.Do([&] { first = std::this_thread::get_id(); });
  CHECK(first != std::this_thread::get_id());
  int sum = 0;  // of the worker's thread alone
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        worker.Do([&] { sum += std::this_thread::get_id() == first ? 1 : 1000000; });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(sum == 400);
  CHECK_THROWS(worker.Do([] { throw g4v::Error(g4v::Code::Runtime, "no room"); }),
               g4v::Code::Runtime, "no room");
  worker.Do([&] { sum = 1; });  // goes on
  CHECK(sum == 1);
}

}  // namespace

int main() {
  TestAloneOrNotAtAll();
  TestOthersWait();
  TestManyThreads();
  TestWorker();
  return g4v::test::Finish();
}
