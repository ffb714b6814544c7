// Which other files an ONNX graph reads. ONNX Runtime opens what a graph names, and releases before
// 1.24.1 did so wherever it lay, so a bundle's graphs are looked through before it gets them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>

namespace g4v {

// The names, as they stand in the graph, of the files that it reads: external data of any tensor,
// in subgraphs, functions and sparse tensors too, and engines that EPContext nodes name. Nothing is
// left out that the protobuf library would find. Throws Error(Bundle) where `model` is no ONNX
// file; `name` is for the message.
std::set<std::string> FilesOfGraph(std::span<const uint8_t> model, const std::string& name);

// The graph with other names for the files of its tensors' external data: `places` has one for
// each name that FilesOfGraph finds. Engines of EPContext nodes keep theirs. Throws as
// FilesOfGraph.
std::string WithExternalData(std::span<const uint8_t> model, const std::string& name,
                             const std::map<std::string, std::string>& places);

}  // namespace g4v
