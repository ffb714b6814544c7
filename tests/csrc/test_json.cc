#include "base/json.h"
#include "base/utf8.h"
#include "check.h"

using g4v::Code;
using g4v::Json;
using g4v::JsonCursor;
using g4v::ParseJson;

namespace {

void TestValues() {
  const Json json =
      ParseJson(R"( {"a": [1, -2.5e3, true, null, "x\n\u00e9\ud83d\ude00"], "b": {}} )");
  const auto& array = json.Find("a")->AsArray();
  CHECK(array[0].AsInt() == 1);
  CHECK(array[1].AsDouble() == -2500.0);
  CHECK(array[2].AsBool());
  CHECK(array[3].is_null());
  CHECK(array[4].AsString() == "x\n\xc3\xa9\xf0\x9f\x98\x80");
  CHECK(json.Find("b")->AsObject().empty());
  CHECK(json.Find("c") == nullptr);
  CHECK(ParseJson("9223372036854775807").AsInt() == INT64_MAX);
  CHECK(ParseJson("-9223372036854775808").AsInt() == INT64_MIN);
}

void TestRoundTrip() {
  const std::string text = R"({"b":[1,-7,0.1,1.0,1e+300,"\u0001\"\\\t",null,false],"a":{"k":"é"}})";
  CHECK(ParseJson(text).Dump() == text);
  CHECK(ParseJson(Json(0.1 + 0.2).Dump()).AsDouble() == 0.1 + 0.2);
}

void TestBytesThatAreNoUtf8() {
  CHECK(ParseJson("\xEF\xBB\xBF[1]").AsArray()[0].AsInt() == 1);  // a byte order mark
  // As a name of a file may have them: the lone surrogates of Python's os.fsdecode.
  CHECK(Json(std::string("caf\xe9 \xc3\xa9")).Dump() == "\"caf\\udce9 \xc3\xa9\"");
  CHECK(g4v::Printable("a\n\tb \x1b[2J\x7f\xe9\xc2\x85\xe2\x80\xae\xc3\xa9") ==
        "a  b \\x1b[2J\\x7f\\xe9\\x85\\u202e\xc3\xa9");
  CHECK(std::string(g4v::Error(Code::Io, "a\x1b\xff").what()) == "a\\x1b\\xff");
  CHECK_THROWS(ParseJson("{\"\xc2\x9b\": 1, \"\xc2\x9b\": 1}"), Code::Bundle,
               "the key \"\\x9b\" appears twice");
}

void TestRefusals() {
  const char* const bad[] = {
      "",
      "{",
      "[1,]",
      "{\"a\":1,}",
      "{a:1}",
      "'x'",
      "01",
      "1.",
      ".5",
      "1e",
      "+1",
      "tru",
      "nul",
      "[1 2]",
      "\"\\x\"",
      "\"a",
      "1 2",
      "// c\n1",
      "NaN",
      "Infinity",
      "-",
      "1e999",
      "\"\\ud800\"",
      "\"\\udc00\"",
      "\"\\ud800\\u0041\"",
      "9223372036854775808",
      "\"\x01\"",
      "\"\xff\"",
      "\"\xc0\x80\"",
      "\"\xed\xa0\x80\"",
      "[\"\xf4\x90\x80\x80\"]",
      "{\"a\":1,\"b\":2,\"a\":3}",
  };
  for (const char* text : bad) CHECK_THROWS(ParseJson(text), Code::Bundle, "JSON is not valid");
  CHECK_THROWS(ParseJson("{\"a\":1,\"a\":2}"), Code::Bundle, "\"a\" appears twice");
  CHECK_THROWS(ParseJson("[\n1,\n?"), Code::Bundle, "line 3");
  CHECK(ParseJson(std::string(64, '[') + std::string(64, ']')).is_array());
  CHECK_THROWS(ParseJson(std::string(65, '[') + std::string(65, ']')), Code::Bundle,
               "nested too deeply");
}

void TestCursor() {
  const Json json = ParseJson(R"({"a":{"b":[1,"x"]},"n":null,"f":1.5})");
  const JsonCursor root(json, "file");
  CHECK(root.Get("a").Get("b").Elements()[0].AsInt() == 1);
  CHECK(!root.Find("zz"));
  CHECK(root.Find("n") && !root.FindNotNull("n"));
  CHECK_THROWS(root.Get("a").Get("b").Elements()[1].AsInt(), Code::Bundle,
               "file: a.b[1] must be an integer, not a string");
  CHECK_THROWS(root.Get("a").Get("c"), Code::Bundle, "file: a has no key \"c\"");
  CHECK_THROWS(root.Get("a").Get("b").Elements()[0].AsInt(2, 5), Code::Bundle,
               "is 1 but must be from 2 to 5");
  CHECK_THROWS(root.Get("f").AsString(), Code::Bundle, "must be a string, not a number");
  CHECK_THROWS(root.ExpectKeys({"a", "n"}), Code::Bundle, "file: f is not a known key");
}

void TestUtf8() {
  CHECK(g4v::IsValidUtf8("plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"));
  for (const char* bad : {"\x80", "\xc3", "\xc1\xbf", "\xe0\x80\x80", "\xed\xbf\xbf",
                          "\xf5\x80\x80\x80", "\xf0\x80\x80\x80", "\xe2\x82"}) {
    CHECK(!g4v::IsValidUtf8(bad));
  }
  // Every code point survives: encode, validate, compare the first byte's length class.
  size_t valid = 0;
  for (uint32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point <= 0xDFFF) continue;
    std::string text;
    g4v::AppendUtf8(code_point, text);
    valid += g4v::IsValidUtf8(text);
  }
  CHECK(valid == 0x110000 - 0x800);
}

}  // namespace

int main() {
  TestValues();
  TestRoundTrip();
  TestBytesThatAreNoUtf8();
  TestRefusals();
  TestCursor();
  TestUtf8();
  return g4v::test::Finish();
}
