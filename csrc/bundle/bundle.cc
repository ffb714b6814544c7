#include "bundle/bundle.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "base/sha256.h"
#include "bundle/graph_files.h"

namespace g4v {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifestName = "g4v.json";
constexpr uint64_t kSmallBytes = 256'000'000;  // is verified by itself, and held in memory
constexpr uint64_t kLargestManifest = 64'000'000;

[[noreturn]] void Refuse(const std::string& message) { throw Error(Code::Bundle, message); }

std::string Quoted(const fs::path& path) { return "\"" + path.string() + "\""; }

// "a", "b" and 3 more
std::string List(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + Quoted(names[i]);
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

[[noreturn]] void RefuseFile(const Error& error) {
  Refuse(std::string("the bundle's file cannot be used: ") + error.what() +
         "; check its rights, or copy the bundle again");
}

template <class T = MappedFile, class... Args>
T OpenFile(const fs::path& path, Args... args) {
  try {
    return T(path, args...);
  } catch (const Error& error) {
    RefuseFile(error);
  }
}

std::string ReadManifest(const fs::path& directory) {
  std::error_code error;
  const fs::file_status folder = fs::status(directory, error);
  if (folder.type() == fs::file_type::not_found) {
    const bool link = fs::is_symlink(fs::symlink_status(directory, error));
    Refuse("there is no bundle at " + Quoted(directory) +
           (link ? ": it is a link to a folder that is not there" : ""));
  }
  if (!fs::status_known(folder)) {
    Refuse("the bundle " + Quoted(directory) + " cannot be read: " + error.message() +
           "; check the rights of the folders above it");
  }
  if (!fs::is_directory(folder)) {
    Refuse(Quoted(directory) + " is not a bundle; give the directory that holds g4v.json");
  }
  const fs::path path = directory / kManifestName;
  const fs::file_status manifest = fs::status(path, error);
  if (!fs::status_known(manifest)) {
    Refuse("the bundle " + Quoted(directory) + " cannot be read: " + error.message() +
           "; check the rights of the folder");
  }
  if (!fs::is_regular_file(manifest)) {
    Refuse(Quoted(directory) +
           " is not a bundle: it has no g4v.json; give the directory that "
           "`python -m g4v.export` wrote");
  }
  if (fs::file_size(path, error) > kLargestManifest && !error) {
    Refuse(Quoted(path) + " is too large for a manifest");
  }
  const MappedFile file = OpenFile(path, MappedFile::How::Read);
  return std::string(reinterpret_cast<const char*>(file.data()), file.size());
}

bool IsInside(const fs::path& directory, const fs::path& path) {
  const auto [end, rest] =
      std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return end == directory.end();
}

// A file may be a link to a regular file, wherever that is: a hub's cache is made of such links.
// What a name spells stays inside the bundle (Manifest::Parse).
void CheckFiles(const fs::path& directory, const Manifest& manifest) {
  std::vector<std::string> missing;
  std::vector<std::string> strange;
  std::vector<std::string> resized;
  for (const auto& [name, entry] : manifest.files) {
    std::error_code error;
    const fs::path path = directory / name;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) {
      const bool link = fs::is_symlink(fs::symlink_status(path, error));
      missing.push_back(link ? name + " (a link to a file that is not there)" : name);
    } else if (!fs::status_known(status)) {
      strange.push_back(name + " (" + error.message() + ")");
    } else if (!fs::is_regular_file(status)) {
      strange.push_back(name + " (not a file)");
    } else if (const auto size = fs::file_size(path, error); error || size != entry.bytes) {
      resized.push_back(name + " (" + std::to_string(size) + " bytes, not " +
                        std::to_string(entry.bytes) + ")");
    }
  }
  const std::string where = "the bundle " + Quoted(directory) + " ";
  if (!missing.empty()) Refuse(where + "is incomplete, copy it again; missing: " + List(missing));
  if (!strange.empty())
    Refuse(where + "has files that cannot be read: " + List(strange) +
           "; check their rights, or copy it again");
  if (!resized.empty()) Refuse(where + "is damaged, copy it again; wrong size: " + List(resized));
}

// Of a file of any size, which is read piece by piece.
std::string DigestOf(const fs::path& path) {
  try {
    Sha256 hash;
    ReadPieces(path, [&](std::span<const uint8_t> piece) { hash.Update(piece); });
    return Hex(hash.Finish());
  } catch (const Error& error) {
    RefuseFile(error);
  }
}

void CheckDigests(const fs::path& directory, const Manifest& manifest) {
  std::vector<std::string> damaged;
  for (const auto& [name, entry] : manifest.files) {
    if (DigestOf(directory / name) != entry.sha256) damaged.push_back(name);
  }
  if (!damaged.empty()) {
    Refuse("the bundle " + Quoted(directory) +
           " is damaged, copy it again; wrong SHA-256: " + List(damaged));
  }
}

}  // namespace

Verify ParseVerify(const std::string& name) {
  for (const Verify verify : {Verify::Auto, Verify::Full, Verify::Size}) {
    if (name == NameOf(verify)) return verify;
  }
  throw Error(Code::InvalidArgument,
              "verify is \"" + name + "\" but must be \"auto\", \"full\" or \"size\"");
}

const char* NameOf(Verify verify) {
  switch (verify) {
    case Verify::Auto:
      return "auto";
    case Verify::Full:
      return "full";
    case Verify::Size:
      return "size";
  }
  throw Error(Code::Internal, "an unknown way to verify a bundle");
}

struct Bundle::Mapped {
  std::mutex mutex;
  std::map<std::string, FileStamp> files;
};

Bundle Bundle::Open(const fs::path& directory, Verify verify) {
  const std::string text = ReadManifest(directory);
  Bundle bundle;
  bundle.mapped_ = std::make_shared<Mapped>();
  bundle.directory_ = fs::canonical(directory);
  bundle.manifest_ = Manifest::Parse(text);
  CheckFiles(bundle.directory_, bundle.manifest_);
  uint64_t total = 0;
  for (const auto& [name, entry] : bundle.manifest_.files) total += entry.bytes;
  bundle.small_ = total <= kSmallBytes;
  if (verify == Verify::Full || (verify == Verify::Auto && bundle.small_)) {
    CheckDigests(bundle.directory_, bundle.manifest_);
    bundle.verified_ = true;
  }
  return bundle;
}

fs::path Bundle::PathOf(const std::string& relative) const {
  if (!manifest_.files.contains(relative)) {
    Refuse("the bundle " + Quoted(directory_) + " has no file " + Quoted(relative));
  }
  return directory_ / relative;
}

GraphSource Bundle::Graph(const Variant& variant, const std::string& graph) const {
  const fs::path path = PathOf(graph);
  // By another ending ONNX Runtime may take a file for one of its own format, which FilesOfGraph
  // cannot read.
  if (path.extension() != ".onnx")
    Refuse("the graph " + path.string() + " cannot be loaded: it is no .onnx file");
  const std::string folder = graph.substr(0, graph.rfind('/') + 1);
  const MappedFile file = OpenFile(path, MappedFile::How::Read);
  // Engines read what they need by the graph's own path.
  const bool engine = variant.target == "tensorrt" || variant.target == "tensorrt-rtx";
  GraphSource source{path, {}, {}};
  std::map<std::string, std::string> places;
  bool linked = false;
  for (const std::string& name : FilesOfGraph(file.bytes(), path.string())) {
    if (std::find(variant.files.begin(), variant.files.end(), folder + name) ==
        variant.files.end()) {
      Refuse("the graph " + path.string() + " cannot be loaded: it reads the file " + Quoted(name) +
             ", which g4v.json does not list for it; do not use this bundle");
    }
    const fs::path place = fs::canonical(path.parent_path() / name);
    linked = linked || !IsInside(fs::canonical(path.parent_path()), place);
    places[name] = place.relative_path().string();
    if (engine) continue;
    auto data = std::make_shared<const MappedFile>(Map(folder + name));
    if (small_) source.files.emplace_back(name, std::move(data));
  }
  if (linked && !engine) {
    source.model = WithExternalData(file.bytes(), path.string(), places);
    for (auto& [name, data] : source.files) name = places[name];
  }
  return source;
}

std::string Bundle::ReadText(const std::string& relative) const {
  const MappedFile file = OpenFile(PathOf(relative), MappedFile::How::Read);
  return std::string(reinterpret_cast<const char*>(file.data()), file.size());
}

MappedFile Bundle::Map(const std::string& relative) const {
  const fs::path path = PathOf(relative);
  if (!small_) {
    const std::lock_guard lock(mapped_->mutex);
    if (!mapped_->files.contains(relative)) {
      mapped_->files.emplace(relative, OpenFile<FileStamp>(path));
    }
  }
  MappedFile file = OpenFile(path, small_ ? MappedFile::How::Read : MappedFile::How::Map);
  if (file.size() != manifest_.files.at(relative).bytes) {
    Refuse("the bundle's file " + Quoted(path) +
           " was changed while it was loaded; load the bundle again");
  }
  return file;
}

void Bundle::CheckUnchanged() const {
  const std::lock_guard lock(mapped_->mutex);
  for (const auto& [name, stamp] : mapped_->files) {
    if (!stamp.unchanged()) {
      Refuse("the bundle's file " + Quoted(directory_ / name) +
             " was changed after it was loaded; load the bundle again");
    }
  }
}

}  // namespace g4v
