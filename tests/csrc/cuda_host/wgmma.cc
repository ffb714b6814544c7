#include "cuda_host/wgmma.h"

#include <algorithm>
#include <cstring>

#include "cuda_host/device.h"

namespace g4v::cuda_host {
namespace {

// Where a block's dynamic shared memory begins on compute capability 9.0, behind what the system
// keeps for itself.
constexpr uint32_t kSharedWindow = 1024;
constexpr uint32_t kUnderWay = 0x7fc0dead;  // a NaN

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <class Pointer>
Pointer PointerOf(const uint32_t* words) {
  return reinterpret_cast<Pointer>(static_cast<uintptr_t>(words[0]) |
                                   static_cast<uintptr_t>(words[1]) << 32);
}
void SetPointer(const void* pointer, uint32_t* words) {
  const auto bits = reinterpret_cast<uintptr_t>(pointer);
  words[0] = static_cast<uint32_t>(bits);
  words[1] = static_cast<uint32_t>(bits >> 32);
}

uint32_t Field(uint64_t descriptor,
               int first) {  // a byte count of 18 bits, kept without the last 4
  return static_cast<uint32_t>(descriptor >> first & 0x3fff) << 4;
}

// All [16, columns] elements of the right matrix. `started`: as the product's start sees them.
std::vector<uint16_t> ReadRight(const Product& product, bool started) {
  const auto* base = static_cast<const unsigned char*>(SharedBase());
  std::vector<uint16_t> bits(static_cast<size_t>(16 * product.columns));
  for (int k = 0; k < 16; ++k) {
    for (int n = 0; n < product.columns; ++n) {
      const uint32_t address = RightElement(product.right, product.transposed, k, n);
      if (address < kSharedWindow) Fail("wgmma reads outside of shared memory");
      const unsigned char* at = base + (address - kSharedWindow);
      CheckShared(at, 2);
      if (started) {
        switch (StateOf(at)) {
          case PieceState::kUnwritten:
            Fail("wgmma reads shared memory that was never written");
          case PieceState::kCopying:
            Fail("wgmma reads shared memory whose copy was not waited for");
          case PieceState::kLanded:
            Fail("wgmma reads shared memory that was written without fence.proxy.async");
          case PieceState::kVisible:
            break;
        }
      }
      std::memcpy(&bits[static_cast<size_t>(k * product.columns + n)], at, 2);
    }
  }
  return bits;
}

template <class Call>
void ForAllUnderWay(WarpProducts& products, const Call& call) {
  for (std::vector<Product>& group : products.groups) {
    for (Product& product : group) call(product);
  }
  for (Product& product : products.open) call(product);
}

// True where `product`'s accumulators are those of products under way, all of the same shape.
bool ContinuesAnother(WarpProducts& products, const Product& product, int lane) {
  bool found = false;
  ForAllUnderWay(products, [&](const Product& other) {
    const bool same = other.c[lane] == product.c[lane];
    if (same && other.columns == product.columns) {
      found = true;
    } else if (other.c[lane] < product.c[lane] + product.columns / 2 &&
               product.c[lane] < other.c[lane] + other.columns / 2) {
      Fail("products of different shapes use the same accumulators at once");
    }
  });
  return found;
}

void CheckFenced(const WarpProducts& products, int lane, const void* registers, size_t bytes) {
  const auto& fenced = products.fenced[lane];
  auto entry = fenced.upper_bound(registers);
  if (entry != fenced.begin()) {
    --entry;
    const auto offset = static_cast<size_t>(static_cast<const unsigned char*>(registers) -
                                            static_cast<const unsigned char*>(entry->first));
    if (offset + bytes <= entry->second.size() &&
        std::memcmp(registers, entry->second.data() + offset, bytes) == 0) {
      return;
    }
  }
  Fail("wgmma uses registers that were touched after the last wgmma.fence");
}

void Start(WarpProducts& products, Product product) {
  const auto registers = static_cast<size_t>(product.columns / 2);
  for (int lane = 0; lane < 32; ++lane) {
    float* const c = product.c[lane];
    auto& values = products.values[lane];
    if (ContinuesAnother(products, product, lane)) {
      for (size_t i = 0; i < registers; ++i) {
        if (BitsOf(c[i]) != kUnderWay) Fail("accumulators were touched while wgmma used them");
      }
    } else {
      if (values.count(c)) Fail("accumulators are used again without being named by a wait");
      CheckFenced(products, lane, c, registers * sizeof(float));
      products.fenced[lane].erase(c);  // the next user needs a fence of its own
      values[c].assign(c, c + registers);
      for (size_t i = 0; i < registers; ++i) std::memcpy(&c[i], &kUnderWay, sizeof kUnderWay);
    }
    CheckFenced(products, lane, product.a[lane], sizeof product.left_bits[lane]);
    std::memcpy(product.left_bits[lane], product.a[lane], sizeof product.left_bits[lane]);
  }
  Product remembered;
  remembered.right = product.right;
  remembered.columns = product.columns;
  remembered.transposed = product.transposed;
  remembered.bfloat16 = product.bfloat16;
  remembered.accumulate = product.accumulate;
  products.history.push_back(remembered);
  product.right_bits = ReadRight(product, true);
  products.open.push_back(std::move(product));
}

// "Register fragments" of wgmma's m64k16 and m64nN, of the warp's own 16 rows, with group = lane /
// 4 and place = lane % 4: a_i is row group + 8 for i = 2, 3, 6, 7, else group; column 2 place + i %
// 2, plus 8 from i = 4 on. d_i is row group, plus 8 where i / 2 is odd; column 8 (i / 4) + 2 place
// + i % 2.
void Finish(WarpProducts& products, const Product& product) {
  const auto to_float = product.bfloat16 ? BFloat16ToFloat : HalfToFloat;
  const int columns = product.columns;
  if (ReadRight(product, false) != product.right_bits) {
    Fail("shared memory changed while wgmma read it");
  }
  float left[16][16];
  for (int lane = 0; lane < 32; ++lane) {
    if (std::memcmp(product.a[lane], product.left_bits[lane], sizeof product.left_bits[lane])) {
      Fail("a left matrix changed while wgmma read it");
    }
    for (int i = 0; i < 8; ++i) {
      const int row = lane / 4 + (i % 4 >= 2 ? 8 : 0);
      const int column = lane % 4 * 2 + i % 2 + (i >= 4 ? 8 : 0);
      left[row][column] =
          to_float(static_cast<uint16_t>(product.left_bits[lane][i / 2] >> (i % 2 * 16) & 0xffff));
    }
  }
  std::vector<float> right(product.right_bits.size());
  std::transform(product.right_bits.begin(), product.right_bits.end(), right.begin(), to_float);
  for (int lane = 0; lane < 32; ++lane) {
    std::vector<float>& values = products.values[lane][product.c[lane]];
    for (int i = 0; i < columns / 2; ++i) {
      if (BitsOf(product.c[lane][i]) != kUnderWay) {
        Fail("accumulators were touched while wgmma used them");
      }
      const int row = lane / 4 + i / 2 % 2 * 8;
      const int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      float sum = 0.0f;
      for (int k = 0; k < 16; ++k) {
        sum += left[row][k] * right[static_cast<size_t>(k * columns + column)];
      }
      float& value = values[static_cast<size_t>(i)];
      value = product.accumulate ? value + sum : sum;
    }
  }
}

}  // namespace

bool Product::SameAs(const Product& other) const {
  return right == other.right && columns == other.columns && transposed == other.transposed &&
         bfloat16 == other.bfloat16 && accumulate == other.accumulate;
}

// The manual's canonical layouts, T = 8 elements of 16 bits to 16 bytes, W the swizzle's width in
// bytes (16 without). K-major, n across and k along:
//   ((8,m),(T,2k)) : ((W,SBO),(1,T)), without a swizzle (1,LBO) for the last
// MN-major, n along and k across:
//   ((T,W/16,m),(8,k)) : ((1,T,LBO),(W,SBO)), without a swizzle SBO and LBO change places
// The swizzle then exchanges bits of the whole address: those from 4 on with those from 7 on, 3, 2
// or 1 of them for 128, 64 and 32 bytes.
uint32_t RightElement(uint64_t descriptor, bool transposed, int k, int n) {
  const uint32_t start = Field(descriptor, 0);
  const uint32_t leading = Field(descriptor, 16);
  const uint32_t stride = Field(descriptor, 32);
  if (descriptor >> 49 & 7) Fail("matrix base offsets are not simulated");
  const int mode = static_cast<int>(descriptor >> 62);
  const int swizzle_bits = mode == 0 ? 0 : 4 - mode;
  const uint32_t width = 16u << swizzle_bits;
  const auto along = static_cast<uint32_t>(transposed ? n : k);
  const auto across = static_cast<uint32_t>(transposed ? k : n);
  uint32_t address = start + across % 8 * width + along % 8 * 2;
  if (!transposed) {
    address += across / 8 * stride + along / 8 * (mode == 0 ? leading : 16);
  } else if (mode == 0) {
    address += along / 8 * stride + across / 8 * leading;
  } else {
    const uint32_t pieces = width / 16;
    address += along / 8 % pieces * 16 + along / 8 / pieces * leading + across / 8 * stride;
  }
  const uint32_t mask = (1u << swizzle_bits) - 1;
  return address ^ (address >> 7 & mask) << 4;
}

uint32_t SharedAddress(const void* shared) {
  return kSharedWindow + static_cast<uint32_t>(static_cast<const unsigned char*>(shared) -
                                               static_cast<const unsigned char*>(SharedBase()));
}

void FenceProxyAsync() {
  auto& landed = Copies().landed;
  for (const void* piece : landed) StateOf(piece) = PieceState::kVisible;
  landed.clear();
}

void FenceRegisters(void* registers, size_t bytes) {
  WarpProducts& products = Products();
  const int lane = ThreadIndex() % 32;
  ForAllUnderWay(products, [&](const Product& product) {
    if (product.c[lane] == registers) Fail("a fence touches accumulators under way");
  });
  const auto* from = static_cast<const unsigned char*>(registers);
  products.fenced[lane][registers].assign(from, from + bytes);
}

void FenceWarpgroup() {
  Lane mine{};
  MeetWarp(mine, [](Lane(&)[32]) {});
}

void StartProduct(float* c, const uint32_t* a, uint64_t right, int columns, bool transposed,
                  bool bfloat16, bool accumulate) {
  if (columns % 8 != 0 || columns < 8 || columns > 256) Fail("wgmma has no such shape");
  Lane mine{};
  SetPointer(c, &mine.words[0]);
  SetPointer(a, &mine.words[2]);
  mine.words[4] = static_cast<uint32_t>(right);
  mine.words[5] = static_cast<uint32_t>(right >> 32);
  mine.words[6] = static_cast<uint32_t>(columns) | (transposed ? 1u << 16 : 0) |
                  (bfloat16 ? 1u << 17 : 0) | (accumulate ? 1u << 18 : 0);
  MeetWarp(mine, [](Lane(&lanes)[32]) {
    Product product;
    product.right = lanes[0].words[4] | uint64_t{lanes[0].words[5]} << 32;
    product.columns = static_cast<int>(lanes[0].words[6] & 0xffff);
    product.transposed = lanes[0].words[6] >> 16 & 1;
    product.bfloat16 = lanes[0].words[6] >> 17 & 1;
    product.accumulate = lanes[0].words[6] >> 18 & 1;
    for (int lane = 0; lane < 32; ++lane) {
      product.c[lane] = PointerOf<float*>(&lanes[lane].words[0]);
      product.a[lane] = PointerOf<const uint32_t*>(&lanes[lane].words[2]);
      if (std::memcmp(&lanes[lane].words[4], &lanes[0].words[4], 3 * sizeof(uint32_t)) != 0) {
        Fail("the lanes of a warp start different products");
      }
    }
    Start(Products(), std::move(product));
  });
}

void CommitProducts() {
  Lane mine{};
  MeetWarp(mine, [](Lane(&)[32]) {
    WarpProducts& products = Products();
    products.groups.push_back(std::move(products.open));
    products.open.clear();
  });
}

void EndProducts(int newest) {
  Lane mine{};
  mine.words[0] = static_cast<uint32_t>(newest);
  MeetWarp(mine, [](Lane(&lanes)[32]) {
    WarpProducts& products = Products();
    while (products.groups.size() > lanes[0].words[0]) {
      for (const Product& product : products.groups.front()) Finish(products, product);
      products.groups.pop_front();
    }
  });
}

void TakeAccumulators(float* c, int count) {
  WarpProducts& products = Products();
  const int lane = ThreadIndex() % 32;
  auto& values = products.values[lane];
  const auto found = values.find(c);
  if (found == values.end()) return;
  ForAllUnderWay(products, [&](const Product& product) {
    if (product.c[lane] == c) Fail("a wait names accumulators that are still under way");
  });
  if (found->second.size() != static_cast<size_t>(count)) Fail("a wait names other accumulators");
  std::copy(found->second.begin(), found->second.end(), c);
  values.erase(found);
}

void CheckProductsOfBlock(const std::vector<WarpProducts*>& warps) {
  for (size_t i = 0; i < warps.size(); ++i) {
    if (!warps[i]->open.empty() || !warps[i]->groups.empty()) {
      Fail("a block ends with wgmma under way");
    }
    const size_t first = i / 4 * 4;
    const auto& mine = warps[i]->history;
    if (!mine.empty() && first + 4 > warps.size()) Fail("wgmma without a whole warpgroup");
    const auto& others = warps[first]->history;
    const auto same = [](const Product& a, const Product& b) { return a.SameAs(b); };
    if (!std::equal(mine.begin(), mine.end(), others.begin(), others.end(), same)) {
      Fail("the warps of a warpgroup start different products");
    }
  }
}

}  // namespace g4v::cuda_host
