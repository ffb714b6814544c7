#include "text/tokenizer.h"

#include <pybind11/stl.h>

#include "bindings/gil.h"
#include "bindings/register.h"

namespace g4v::bindings {
namespace {

namespace py = pybind11;

using Ids = std::vector<int32_t>;

std::vector<Ids> EncodeBatch(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                             bool first_segment) {
  std::vector<Ids> result;
  result.reserve(texts.size());
  for (const std::string& text : texts) result.push_back(tokenizer.Encode(text, first_segment));
  return result;
}

std::vector<std::string> DecodeBatch(const Tokenizer& tokenizer, const std::vector<Ids>& batch,
                                     bool skip_special) {
  std::vector<std::string> result;
  result.reserve(batch.size());
  for (const Ids& ids : batch) result.push_back(tokenizer.Decode(ids, skip_special));
  return result;
}

}  // namespace

void RegisterTokenizer(py::module_& module, py::module_& testing) {
  const py::call_guard<GilRelease> release;
  py::class_<Tokenizer>(module, "Tokenizer", "A tokenizer of a bundle (its own JSON format).")
      .def(py::init(&Tokenizer::Load), py::arg("json_text"), release)
      .def(
          "encode",
          [](const Tokenizer& self, const std::string& text, bool first_segment) {
            return self.Encode(text, first_segment);
          },
          py::arg("text"), py::arg("first_segment") = true, release,
          "Token ids of a text; special tokens in it are plain text, no bos or eos is added.")
      .def("encode_batch", &EncodeBatch, py::arg("texts"), py::arg("first_segment") = true, release,
           "Token ids of each text.")
      .def(
          "decode",
          [](const Tokenizer& self, const Ids& ids, bool skip_special) {
            return self.Decode(ids, skip_special);
          },
          py::arg("ids"), py::arg("skip_special") = true, release, "Text of token ids.")
      .def("decode_batch", &DecodeBatch, py::arg("batch"), py::arg("skip_special") = true, release,
           "Text of each list of token ids.")
      .def("token_id", &Tokenizer::TokenId, py::arg("special"), "Id of a special token, or None.")
      .def_property_readonly("vocab_size", &Tokenizer::vocab_size,
                             "One more than the largest token id.");
  py::class_<StreamDecoder>(testing, "StreamDecoder", "Decodes a stream of token ids.")
      .def(py::init<const Tokenizer&>(), py::arg("tokenizer"), py::keep_alive<1, 2>())
      .def("push", &StreamDecoder::Push, py::arg("id"), "Text that is complete with this token.")
      .def("finish", &StreamDecoder::Finish, "The rest; the decoder starts anew.");
}

}  // namespace g4v::bindings
