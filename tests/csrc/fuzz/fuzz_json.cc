// JSON texts (base/json.h). What is read is written, and read again as the same.
#include "base/json.h"
#include "fuzz.h"

using namespace g4v;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Json json;
  const bool valid = fuzz::Accepts({Code::Bundle}, [&] { json = ParseJson(text, "text", 32); });
  if (!valid) return 0;
  fuzz::Require(IsValidUtf8(text), "only UTF-8 is read");
  const std::string dumped = json.Dump();
  Json again;
  fuzz::Require(fuzz::Accepts({}, [&] { again = ParseJson(dumped, "text", 32); }),
                "what Dump writes can be read");
  fuzz::Require(again.Dump() == dumped, "what Dump writes is read as it was");
  fuzz::Require(again.type() == json.type(), "a value keeps its type");
  return 0;
}
