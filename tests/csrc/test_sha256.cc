#include <string>
#include <vector>

#include "base/sha256.h"
#include "check.h"

using g4v::Sha256;
using g4v::Sha256Hex;

namespace {

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void TestKnown(Sha256::Backend backend) {
  // FIPS 180-4 examples.
  CHECK(Sha256Hex(Bytes(""), backend) ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(Sha256Hex(Bytes("abc"), backend) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Sha256Hex(Bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), backend) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(Sha256Hex(Bytes(std::string(1000000, 'a')), backend) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Both ways of computing agree for every length around the block borders, however the input is cut.
void TestAgreement() {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    const std::string whole = Sha256Hex(Bytes(text));
    CHECK(whole == Sha256Hex(Bytes(text), Sha256::Backend::Portable));
    Sha256 pieces;
    const size_t cut = text.size() / 3;
    pieces.Update(Bytes(text).subspan(0, cut));
    pieces.Update(Bytes(text).subspan(cut, cut));
    pieces.Update(Bytes(text).subspan(2 * cut));
    Sha256 once;
    once.Update(Bytes(text));
    CHECK(pieces.Finish() == once.Finish());
    text += static_cast<char>(i * 37 + 11);
  }
}

}  // namespace

int main() {
  TestKnown(Sha256::Backend::Portable);
  TestKnown(Sha256::Backend::Auto);
  TestAgreement();
  std::cerr << "SHA instructions: " << (g4v::HasShaInstructions() ? "yes" : "no") << "\n";
  return g4v::test::Finish();
}
