// A bundle directory: the manifest and the files that it lists, checked before anything uses them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "bundle/manifest.h"

namespace g4v {

// What Open checks beside the manifest. Sizes are checked always.
enum class Verify {
  Auto,  // SHA-256 too where all files together have at most 256 MB
  Full,  // SHA-256 of every file
  Size,  // sizes only
};

// From "auto", "full" or "size". Throws Error(InvalidArgument) for another name.
Verify ParseVerify(const std::string& name);
const char* NameOf(Verify verify);

// Where a graph is read from. ONNX Runtime refuses external data that a link leads out of the
// graph's folder, as in a hub's cache. Such a graph is given to it as `model`, whose external data
// are named by where they lie, from the root of the file system on.
struct GraphSource {
  std::filesystem::path path;
  std::string model;  // empty: the file at `path` is opened
  // External data in memory, by their names in the graph; empty where they are mapped.
  std::vector<std::pair<std::string, std::shared_ptr<const MappedFile>>> files;
};

// The files of a bundle of at most 256 MB are read into memory when they are used, those of a larger
// one are mapped.
class Bundle {
 public:
  // Throws Error(Bundle): the message is one line that says what is wrong and what to do.
  static Bundle Open(const std::filesystem::path& directory, Verify verify = Verify::Auto);

  const Manifest& manifest() const { return manifest_; }
  const std::filesystem::path& directory() const { return directory_; }
  bool verified() const { return verified_; }  // SHA-256 of every file was checked

  // Absolute path of a file that the manifest lists. Throws Error(Bundle) for any other name.
  std::filesystem::path PathOf(const std::string& relative) const;
  // A graph of the variant, for ONNX Runtime to open. Throws Error(Bundle) where the graph reads a
  // file that is not one of the variant's.
  GraphSource Graph(const Variant& variant, const std::string& graph) const;
  std::string ReadText(const std::string& relative) const;
  MappedFile Map(const std::string& relative) const;
  // Throws Error(Bundle) where a file that is mapped was written to since then. A copy of this bundle
  // knows the files of the others too.
  void CheckUnchanged() const;

 private:
  Bundle() = default;

  std::filesystem::path directory_;
  Manifest manifest_;
  bool verified_ = false;
  bool small_ = false;
  struct Mapped;
  std::shared_ptr<Mapped> mapped_;
};

}  // namespace g4v
