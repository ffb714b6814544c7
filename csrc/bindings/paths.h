// Paths from Python: str, bytes or os.PathLike. A name of any bytes is taken, as the file system has it.
#pragma once

#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <filesystem>
#include <string>
#include <vector>

namespace g4v::bindings {

using Paths = std::vector<std::filesystem::path>;

inline std::vector<std::string> Strings(const Paths& paths) {
  std::vector<std::string> strings;
  for (const std::filesystem::path& path : paths) strings.push_back(path.string());
  return strings;
}

}  // namespace g4v::bindings
