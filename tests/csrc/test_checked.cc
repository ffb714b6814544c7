// Sums and products that refuse what does not fit.
#include <cstdint>
#include <vector>

#include "base/checked.h"
#include "check.h"

using g4v::CheckedAdd;
using g4v::CheckedBytes;
using g4v::CheckedMultiply;

int main() {
  CHECK(CheckedAdd(INT64_MAX - 1, 1) == INT64_MAX);
  CHECK(!CheckedAdd(INT64_MAX, 1));
  CHECK(!CheckedAdd(INT64_MAX - 63, 64));
  CHECK(CheckedAdd(INT64_MIN + 1, -1) == INT64_MIN);
  CHECK(!CheckedAdd(INT64_MIN, -1));

  CHECK(CheckedMultiply(INT64_MAX / 3, 3) == INT64_MAX / 3 * 3);
  CHECK(!CheckedMultiply(INT64_MAX / 3 + 1, 3));
  CHECK(!CheckedMultiply(int64_t{1} << 32, int64_t{1} << 31));
  CHECK(!CheckedMultiply(INT64_MIN, -1));
  CHECK(CheckedMultiply(INT64_MIN, 0) == 0);

  const auto bytes = [](std::vector<int64_t> sizes) { return CheckedBytes(sizes, 4); };
  CHECK(bytes({}) == 4);
  CHECK(bytes({2, 3}) == 24);
  CHECK(bytes({0, 3}) == 12);  // the stride of the first size
  CHECK(bytes({INT64_MAX / 4}) == INT64_MAX / 4 * 4);
  CHECK(!bytes({INT64_MAX / 4 + 1}));
  CHECK(!bytes({0, int64_t{1} << 40, int64_t{1} << 40}));
  CHECK(!bytes({int64_t{1} << 40, int64_t{1} << 40, 0}));
  CHECK(!bytes({2, -1}));
  CHECK(!bytes({-1, -1}));
  return g4v::test::Finish();
}
