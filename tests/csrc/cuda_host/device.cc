#include "cuda_host/device.h"

namespace g4v::cuda_host {
namespace {

template <class To, class From>
To Bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

// What MeetWarp exchanges in a matrix multiplication: a0 .. a3, b0, b1 in, c0 .. c3 out.
//
// The PTX manual, "Matrix fragments for mma.m16n8k16 with floating point type", with group =
// lane / 4 and place = lane % 4 (elements of a register count from its lower half):
//   a_i, i = 0 .. 7: row = group for i in 0, 1, 4, 5, else group + 8;
//                    column = 2 place + i % 2, for i >= 4 plus 8
//   b_i, i = 0 .. 3: row = 2 place + i % 2, for i >= 2 plus 8; column = group
//   c_i, i = 0 .. 3: row = group, for i >= 2 plus 8; column = 2 place + i % 2
// The products of 16-bit elements are exact in float32; their sum is rounded after each.
template <float (*kToFloat)(uint16_t)>
void Multiply(Lane (&lanes)[32]) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4;
    const int place = lane % 4;
    const auto element = [&](int word, int i) {
      return kToFloat(static_cast<uint16_t>(lanes[lane].words[word + i / 2] >> (i % 2 * 16)));
    };
    for (int i = 0; i < 8; ++i) {
      const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
      const int column = place * 2 + i % 2 + (i >= 4 ? 8 : 0);
      a[row][column] = element(0, i);
    }
    for (int i = 0; i < 4; ++i) {
      const int row = place * 2 + i % 2 + (i >= 2 ? 8 : 0);
      b[row][group] = element(4, i);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + (i >= 2 ? 8 : 0);
      const int column = lane % 4 * 2 + i % 2;
      float sum = 0.0f;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      lanes[lane].words[i] = Bits<uint32_t>(sum);
    }
  }
  ++Count().multiplications;
}

// ldmatrix.sync.aligned.m8n8.x4[.trans].b16: lane 8 i + r gives the address of row r of matrix i.
// Register i of a lane is, of matrix i, the elements (row, column) = (lane / 4, 2 (lane % 4)) and
// the next column's; with .trans the matrix is taken as stored by columns, so that row and column
// change places. In: the address as an offset. Out: those of the rows that the lane reads.
void FindRows(Lane (&lanes)[32], bool transposed) {
  uint32_t rows[32];
  for (int lane = 0; lane < 32; ++lane) rows[lane] = lanes[lane].words[0];
  for (int matrix = 0; matrix < 4; ++matrix) {
    int rows_in_group[8] = {};  // 16 bytes are 4 of the 32 banks
    int passes = 0;
    for (int row = 0; row < 8; ++row) {
      int& count = rows_in_group[rows[matrix * 8 + row] / 16 % 8];
      passes = ++count > passes ? count : passes;
    }
    ++Count().matrix_loads;
    Count().bank_conflicts += passes - 1;
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 2; ++i) {
        const int row = transposed ? lane % 4 * 2 + i : lane / 4;
        lanes[lane].words[matrix * 2 + i] = rows[matrix * 8 + row];
      }
    }
  }
}

}  // namespace

float HalfToFloat(uint16_t bits) {
  const int sign = bits >> 15;
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  float value;
  if (exponent == 31) {
    value = mantissa ? NAN : INFINITY;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    value = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return sign ? -value : value;
}

uint16_t HalfFromFloat(float value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return 0x7fff;
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // half-way to the next power rounds up
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude < 2^exponent
  // Of the last bit; zero and subnormals have the smallest.
  exponent = magnitude < 0x1p-14f ? -24 : exponent - 11;
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -exponent)));
  // Adding (exponent + 24) to the exponent field: units carries its own leading bit.
  const int bits = exponent == -24 ? units : ((exponent + 24) << 10) + units;
  return static_cast<uint16_t>(sign | bits);
}

float BFloat16ToFloat(uint16_t bits) { return Bits<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t BFloat16FromFloat(float value) {
  if (std::isnan(value)) return 0x7fff;
  const auto bits = Bits<uint32_t>(value);
  const uint32_t lower = bits & 0xffff;
  uint32_t upper = bits >> 16;
  if (lower > 0x8000 || (lower == 0x8000 && (upper & 1))) ++upper;
  return static_cast<uint16_t>(upper);
}

// The 16 bytes may land at any time until they are waited for: they are NaNs as soon as the copy
// starts and become the source's when their group is waited for, not before.
void CopyAsync16(void* shared, const void* global, bool valid) {
  CheckShared(shared, 16);
  if (reinterpret_cast<uintptr_t>(shared) % 16 || reinterpret_cast<uintptr_t>(global) % 16) {
    Fail("cp.async of 16 bytes at an address that is no multiple of 16");
  }
  std::memset(shared, 0xff, 16);
  StateOf(shared) = PieceState::kCopying;
  Copies().open.push_back({shared, valid ? global : nullptr});
}

void CommitCopies() {
  CopyGroups& copies = Copies();
  copies.committed.push_back(std::move(copies.open));
  copies.open.clear();
}

void WaitForCopies(size_t newest) {
  auto& [committed, open, landed] = Copies();
  while (committed.size() > newest) {
    for (const Copy& copy : committed.front()) {
      if (copy.from) {
        std::memcpy(copy.to, copy.from, 16);
      } else {
        std::memset(copy.to, 0, 16);
      }
      StateOf(copy.to) = PieceState::kLanded;
      landed.push_back(copy.to);
    }
    committed.erase(committed.begin());
  }
}

float ShuffleFrom(float value, int lane) {
  Lane mine{};
  mine.words[0] = Bits<uint32_t>(value);
  mine.words[1] = static_cast<uint32_t>(lane);
  MeetWarp(mine, [](Lane(&lanes)[32]) {
    for (Lane& lane : lanes) lane.words[2] = lanes[lane.words[1] % 32].words[0];
  });
  return Bits<float>(mine.words[2]);
}

void LoadMatrices(uint32_t (&registers)[4], const void* shared, bool transposed) {
  CheckShared(shared, 16);
  if (reinterpret_cast<uintptr_t>(shared) % 16) Fail("ldmatrix of an unaligned row");
  const auto* base = static_cast<const unsigned char*>(SharedBase());
  Lane mine{};
  mine.words[0] = static_cast<uint32_t>(static_cast<const unsigned char*>(shared) - base);
  MeetWarp(
      mine, transposed ? [](Lane(&lanes)[32]) { FindRows(lanes, true); }
                       : [](Lane(&lanes)[32]) { FindRows(lanes, false); });
  // Every lane reads its own elements, so that ThreadSanitizer sees who read what.
  const int lane = ThreadIndex() % 32;
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t elements[2];
    for (int i = 0; i < 2; ++i) {
      const int column = transposed ? lane / 4 : lane % 4 * 2 + i;
      std::memcpy(&elements[i], base + mine.words[matrix * 2 + i] + column * 2, 2);
    }
    registers[matrix] = elements[0] | static_cast<uint32_t>(elements[1]) << 16;
  }
}

void MatrixMultiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                       bool bfloat16) {
  Lane mine{{a[0], a[1], a[2], a[3], b0, b1}};
  MeetWarp(mine, bfloat16 ? &Multiply<BFloat16ToFloat> : &Multiply<HalfToFloat>);
  for (int i = 0; i < 4; ++i) c[i] += Bits<float>(mine.words[i]);
}

}  // namespace g4v::cuda_host
